"""What stays alive after a forward pass, beside what the rules asked to save. Run: python benchmarks/saved_memory.py

Three blocks of convolution, relu and max-pooling on 16 images of 64 channels, 64 x 64. Live memory is what NumPy has
allocated since before the forward pass (tracemalloc); the saved arrays are counted once per piece of memory, without
the input and the parameters, which were there before.
"""

from __future__ import annotations

import tracemalloc

import numpy as np

import tinygrad_cnn as tc
import tinygrad_cnn.functional as F
from tinygrad_cnn.core import tape


def forward(x: tc.Tensor, weights: list[tc.Tensor]) -> tc.Tensor:
    """The three blocks."""
    for w in weights:
        x = F.max_pool2d(F.conv2d(x, w, padding=1).relu(), 2)
    return x


def saved_bytes(y: tc.Tensor, known: list[np.ndarray]) -> int:
    """All memory that the tape under y keeps, beyond what is known."""
    assert y.grad_fn is not None
    known_owners = {id(tape.owner(array)) for array in known}
    return sum(memory.nbytes for key, memory in tape.kept(y.grad_fn).items() if key not in known_owners)


def main() -> None:
    rng = np.random.default_rng(0)
    x = tc.tensor(rng.normal(size=(16, 64, 64, 64)).astype(np.float32))
    weights = [tc.tensor(rng.normal(size=(64, 64, 3, 3)).astype(np.float32), requires_grad=True) for _ in range(3)]
    forward(x, weights)  # workspaces of the kernels are allocated once and stay
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    y = forward(x, weights)
    live, peak = (amount - before for amount in tracemalloc.get_traced_memory())
    saved = saved_bytes(y, [x.data, y.data, *(w.data for w in weights)]) + y.data.nbytes
    print(f"live after forward {live / 1e6:8.2f} MB")
    print(f"saved, and output  {saved / 1e6:8.2f} MB   ratio {live / saved:.3f}")
    print(f"peak in forward    {peak / 1e6:8.2f} MB")
    y.sum().backward()
    del y
    after, _ = tracemalloc.get_traced_memory()
    print(f"left after backward {(after - before) / 1e6:7.2f} MB   (the gradients of the weights are 0.44)")


if __name__ == "__main__":
    main()
