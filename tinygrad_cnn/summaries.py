"""The table of a model: what each layer puts out, owns, computes and keeps for backward."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from tinygrad_cnn.checks import integer
from tinygrad_cnn.core import tape
from tinygrad_cnn.core.tensor import Tensor, get_default_dtype
from tinygrad_cnn.nn import Module
from tinygrad_cnn.random_state import generator


class Row(NamedTuple):
    """One layer, or one operation between layers; counts are for one image, the batch axis is left out."""

    layer: str  # dotted path
    type: str  # the module's class, or the operation's name
    output_shape: tuple[int, ...] | None  # None: it was not run
    parameters: int  # elements; a shared one counts where it is met first
    buffers: int  # elements
    macs: int  # multiply-accumulates of the forward pass
    saved_bytes: int  # what the tape keeps for backward, beyond parameters and buffers; memory counts once
    dense_weights: int  # weights of a fully connected layer between the same input and output; 0: has no weights


@dataclass(frozen=True)
class Summary(Sequence[Row]):
    """Rows in the order of execution, and their totals; prints as a table."""

    name: str
    input_shape: tuple[int, ...]
    rows: tuple[Row, ...]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Any) -> Any:
        return self.rows[index]

    @property
    def parameters(self) -> int:
        """Elements of all parameters, shared ones once."""
        return sum(row.parameters for row in self.rows)

    @property
    def buffers(self) -> int:
        """Elements of all buffers."""
        return sum(row.buffers for row in self.rows)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the forward pass of one image; each is 2 FLOP."""
        return sum(row.macs for row in self.rows)

    @property
    def saved_bytes(self) -> int:
        """Bytes that the tape keeps for backward, per image."""
        return sum(row.saved_bytes for row in self.rows)

    @property
    def dense_weights(self) -> int:
        """Weights if every layer were fully connected."""
        return sum(row.dense_weights for row in self.rows)

    def __repr__(self) -> str:
        return _table(self)


def summary(model: Module, input_shape: Sequence[int]) -> Summary:
    """Run the model once on zeros of `input_shape`, (C, H, W) without batch axis, and list what its layers do.

    The model is left as it was: parameters, running statistics, modes, hooks and the random state. Weights stand beside
    those that fully connected layers of the same input and output would need (lectures A8, A9).

    >>> from tinygrad_cnn import nn
    >>> summary(nn.Sequential({"conv": nn.Conv2d(3, 10, 3, padding=1), "relu": nn.ReLU()}), (3, 8, 8))
    Sequential, input 3 x 8 x 8
    layer  type    output shape  parameters  dense weights    MACs  saved bytes
    ---------------------------------------------------------------------------
    conv   Conv2d    10 x 8 x 8         280        122,880  17,280          768
    relu   ReLU      10 x 8 x 8                                           2,560
    ---------------------------------------------------------------------------
    total                               280        122,880  17,280        3,328
    <BLANKLINE>
    For one image. ...
    """
    if not isinstance(model, Module):
        raise TypeError(f"summary: expected a Module, got {type(model).__name__}")
    if not isinstance(input_shape, list | tuple) or not input_shape:
        raise TypeError(
            f"summary: input_shape must be a tuple of lengths without the batch axis, such as (1, 28, 28), got "
            f"{input_shape!r}"
        )
    shape = tuple(integer("summary", "input_shape", n, least=1) for n in input_shape)
    floating = (p.dtype for p in model.parameters() if p.dtype.kind == "f")
    x = np.zeros((1, *shape), next(floating, get_default_dtype()))
    try:
        rows = _observed(model, x, training=True)
    except ValueError:  # a single image may be too few for batch normalisation; any other mistake is raised again
        rows = _observed(model, x, training=False)
    return Summary(type(model).__name__, shape, tuple(rows))


# ---- watching one forward pass ---------------------------------------------------------------------------------


def _observed(model: Module, x: np.ndarray, training: bool) -> list[Row]:
    watch = _Watch(model)
    with _undisturbed(model), tape.within(""), tape.observe(on_record=watch), tape.enable_grad():
        if model.training != training:
            model.train(training)
        model(Tensor(x))
    return watch.rows + watch.not_run()


@contextmanager
def _undisturbed(model: Module) -> Iterator[None]:
    """Whatever happens inside, the model's attributes, its buffers' arrays and the random state are put back."""
    attributes = [(vars(module), vars(module).copy()) for module in model.modules()]
    arrays = [(buffer, buffer._data) for buffer in model.buffers()]
    random_state = generator().bit_generator.state
    for now, _ in attributes:
        now.pop("_forward_hooks", None)
    for buffer, array in arrays:
        buffer._data = array.copy("K")
    try:
        yield
    finally:
        generator().bit_generator.state = random_state
        for buffer, array in arrays:
            buffer._data = array
        for now, kept in attributes:
            now.clear()
            now.update(kept)


class _Watch:
    """Turns what the tape shows into rows: one per run of a layer, one per operation outside of layers."""

    def __init__(self, model: Module) -> None:
        self.rows: list[Row] = []
        self._modules = dict(model.named_modules())
        self._elsewhere = Module()  # stands for a path that the forward has set itself
        self._owned = {id(tape.owner(t.data)) for t in (*model.parameters(), *model.buffers())}
        self._counted: dict[int, Any] = {}  # parameters, buffers and saved memory that have a row; kept alive

    def __call__(self, node: tape.Node | None, op: Any, args: tuple[Any, ...], options: Any, out: Tensor) -> None:
        path = tape.STATE.get().path
        module = self._modules.get(path, self._elsewhere)
        is_layer = module is not self._elsewhere and not any(True for _ in module.children())
        macs, dense_weights = _cost(op.name, args, out)
        row = Row(
            path,
            type(module).__name__ if is_layer else op.name,
            out.shape[1:],
            self._new(module.parameters(recurse=False)),
            self._new(module.buffers(recurse=False)),
            macs,
            self._saved(node),
            dense_weights,
        )
        if is_layer and self.rows and self.rows[-1].layer == path:
            row = _merged(self.rows.pop(), row)
        self.rows.append(row)

    def not_run(self) -> list[Row]:
        """Rows for modules whose parameters took no part."""
        rows = []
        for path, module in self._modules.items():
            parameters, buffers = self._new(module.parameters(recurse=False)), self._new(module.buffers(recurse=False))
            if parameters or buffers:
                rows.append(Row(path, type(module).__name__, None, parameters, buffers, 0, 0, 0))
        return rows

    def _new(self, tensors: Iterator[Tensor]) -> int:
        """Elements of those Tensors that were not counted before."""
        fresh = [t for t in tensors if id(t) not in self._counted]
        self._counted.update((id(t), t) for t in fresh)
        return sum(t.size for t in fresh)

    def _saved(self, node: tape.Node | None) -> int:
        total = 0
        for value in (node.saved or ()) if node is not None else ():
            for array in value if isinstance(value, tuple) else (value,):
                if isinstance(array, np.ndarray):
                    memory = tape.owner(array)
                    if id(memory) not in self._counted and id(memory) not in self._owned:
                        self._counted[id(memory)] = memory
                        total += memory.nbytes if isinstance(memory, np.ndarray) else array.nbytes
        return total


def _merged(first: Row, second: Row) -> Row:
    """Two operations of one layer as one row."""
    sums = [a + b for a, b in zip(first[3:], second[3:], strict=True)]
    return Row(second.layer, second.type, second.output_shape, *sums)


def _cost(name: str, args: tuple[Any, ...], out: Tensor) -> tuple[int, int]:
    """(multiply-accumulates, weights of the equivalent fully connected layer) of one operation."""
    if name in ("conv1d", "conv2d", "conv3d", "linear"):
        return out.size * math.prod(args[1].shape[1:]), np.size(args[0]) * out.size
    if name in ("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"):
        return np.size(args[0]) * math.prod(args[1].shape[1:]), np.size(args[0]) * out.size
    if name == "matmul":
        return out.size * np.shape(args[0])[-1], 0
    return 0, 0


# ---- the printed table -----------------------------------------------------------------------------------------

_FOOTER = """\
For one image. Parameters: shared ones once. Dense weights: of fully connected layers between the same input and output.
MAC: one multiplication and one addition, 2 FLOP; counted in convolutions, fully connected layers and matrix products.
Saved: what the tape keeps for backward beyond parameters and buffers, each memory once."""


def _table(s: Summary) -> str:
    heads = ["layer", "type", "output shape", "parameters", "buffers", "dense weights", "MACs", "saved bytes"]
    lines = [
        [
            row.layer,
            row.type,
            "not run" if row.output_shape is None else _product(row.output_shape),
            *map(_count, numbers),
        ]
        for row in s.rows
        for numbers in [(row.parameters, row.buffers, row.dense_weights, row.macs, row.saved_bytes)]
    ]
    totals = ["total", "", "", *map(_count, (s.parameters, s.buffers, s.dense_weights, s.macs, s.saved_bytes))]
    if not s.buffers:
        for line in (heads, *lines, totals):
            del line[4]
    widths = [max(map(len, column)) for column in zip(heads, *lines, totals, strict=True)]

    def text(line: list[str]) -> str:
        cells = [c.ljust(w) if i < 2 else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True))]
        return "  ".join(cells).rstrip()

    rule = "-" * (sum(widths) + 2 * len(widths) - 2)
    head = f"{s.name}, input {_product(s.input_shape)}"
    return "\n".join([head, text(heads), rule, *map(text, lines), rule, text(totals), "", _FOOTER])


def _product(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "1"


def _count(number: int) -> str:
    return f"{number:,}" if number else ""
