"""Where the bugs come from: classes of bugs that autograd engines had, with the places where each was seen.

A mutant cites places in its `seen`; so each class can name its mutants, and a test that each class has some.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tinygrad_cnn.testing.mutants.mutant import Mutant


@dataclass(frozen=True)
class Source:
    """A class of bugs, and issues (or engines) where bugs of that class were seen."""

    bugs: str
    seen: str

    def cited_by(self, mutant: Mutant) -> bool:
        """Whether the mutant is one of them."""
        return not set(citations(self.seen)).isdisjoint(citations(mutant.seen))


def citations(seen: str) -> Iterator[str]:
    """The places in a text: separated by commas, each perhaps with a remark after a colon.

    >>> list(citations("HIPS#151, #183, MyGrad: relu"))
    ['HIPS#151', 'HIPS#183', 'MyGrad']
    """
    place = ""
    for part in seen.split(","):
        word = part.partition(":")[0].strip()
        word = place + word if word.startswith("#") else word
        place = word.partition("#")[0]
        yield word


# Of single operations, found in issue trackers and by fuzzers.
OF_OPERATIONS = (
    Source("overlapping windows: = instead of +=", "Flux.jl#1197, NNlib.jl#205, joey#5, deep-learning-from-scratch#27"),
    Source("ties counted twice, or dropped",
           "NNlib.jl#86, Theano#4568, tensorflow#51681, pytorch#56734, MyGrad maximum"),
    Source("pools: padding counts as 0, a window of nothing but padding",
           "NNlib.jl#133, pytorch#33382, FastNN#5, pytorch#1465"),
    Source("gradient buffer not zeroed", "executorch#21686"),
    Source("convolution: what the stride leaves over",
           "backpack#30, FlagGems#1576, CMU10-714#6, mlpack#2986, daceml#89"),
    Source("stride for dilation, groups, depthwise", "candle#2337, burn#1891, pytorch#75219"),
    Source("gradient divided by the batch", "cTensor#3"),
    Source("max pool over the wrong axes, the shape right", "HIPS#245, CNN-from-scratch#1"),
    Source("one memory order alone is wrong", "pytorch#188344, #60524"),
    Source("broadcast not summed, or over another axis",
           "pytorch#1787, nd4j#2424, burn#181, tt-metal#40008, Odyssey#2080"),
    Source("reductions over several axes", "cs249r_book#1867, pytorch#1813"),
    Source("repeated indices overwrite", "HIPS#39, pytorch#1528, pytensor#2242, pytorch#80204, MyGrad#270"),
    Source("batch norm: evaluation, one value, empty batch, double backward",
           "tensorflow#14271, pytorch#1381, #12013, #4569"),
    Source("one-pass variance, place of eps", "pytorch#40302, pytorch_geometric#2917"),
    Source("softmax and cross-entropy: overflow, -inf, wrong axis",
           "NNlib.jl#68, dynet#218, crysx_nn#7, optax#1762, pytorch#11752, DirectML#739"),
    Source("dropout: mask read off the output, p = 1, evaluation",
           "kaldi#3890, axon#367, Paddle#37305, Megatron-LM#411"),
    Source("NaN from the branch not chosen, norm at 0", "pytorch#187297, tinygrad#12409, HIPS#151, #617, pytorch#2421"),
    Source("NaN treated by length or path", "pytorch#195075, #7645"),
    Source("one tensor twice, fan-out, accumulation", "pytorch#181146, warp#1294, mxnet#17989"),
    Source("upstream gradient not contiguous", "cunn#199, torch/nn#345, pytorch#67517, #186414"),
    Source("inputs validated only when recording, or only when not", "pytorch#77514"),
    Source("higher order silently wrong", "pytorch#198017, #79609, #59477"),
    Source("odd dtypes, einsum", "jax#10993, mxnet#18102"),
    Source("empty batch", "pytorch#64306, #15870, opacus#530, tensorflow#14657"),
)  # fmt: skip

# Of whole engines of this kind: micrograd, joelgrus/autograd, SmallPebble, minitorch, MyGrad, Chainer, tinygrad, MLX, …
OF_ENGINES = (
    Source("a node used twice", "tinygrad 5d19853, micrograd#2, #64, tinygrad#119, #120, #165, ARENA_2.0#18"),
    Source("un-broadcasting", "tinygrad 2020: it only asserted, joelgrus/autograd: not in matmul, MyGrad 2.0.1"),
    Source("gradients that share memory", "SmallPebble setat, MyGrad views, Oneflow#9497, pytorch#178315, #185286"),
    Source("dtype drifts", "HIPS#163, #199, hw1#20, chainer#7922, tinygrad#7726"),
    Source("ties of max and pool", "minitorch max, tinygrad#226, CrypTen#90, tinygrad#12296"),
    Source("kinks at 0, at 6, at the bounds of clip",
           "tinygrad c46edbf, pytorch#184572, tinygrad#18028, #18029, HIPS clip, micrograd_c#4"),
    Source("relu and where with inf · 0", "Paddle#65999, MyGrad relu"),
    Source("division by 0, removable singularities",
           "HIPS#151, #183, #268, #570, #586, #617, MyGrad#379, tinygrad#155, #9217, #9226, mlx#505, tinygrad#17404"),
    Source("softmax and log not stable", "SmallPebble softmax, tinygrad#8238"),
    Source("padding sliced to -p with p = 0", "tinygrad Pad2D, HIPS 7b61be3"),
    Source("stride remainder, overlap, dilation",
           "tinygrad#7581, #81, NNlib.jl#205, joey#5, MyGrad conv, minitorch conv, MLX#3800, #1449, #2187, #2495"),
    Source("pools: padding value, windows, divisors",
           "SmallPebble pool, minitorch pool, pytorch#45357, #94887, #188345, #198119, #1465, #7645, "
           "onnxruntime#27375, burn#5604, xla#6409"),
    Source("transposed convolution", "tinygrad#823, #840, #875, pytorch#1565, #5057, #14272, mxnet#11203"),
    Source("batch norm in engines",
           "tinygrad#753, #807, #6200, pytorch#1381, Flux#2716, equinox#1010, equinox 863bb64, "
           "chainer: _will_recompute"),
    Source("dropout in engines", "tinygrad#11322, kaldi#3890, trident#89, theanets#123, chainer: _will_recompute"),
    Source("double backward", "tinygrad#2584, #5701, MLX 3236476, TF#6294"),
)  # fmt: skip

SOURCES = (*OF_OPERATIONS, *OF_ENGINES)
