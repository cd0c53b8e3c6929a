"""ONNX: a model's forward pass, in evaluation mode, as a .onnx file for other runtimes and viewers.

The model runs once on two images and once on three, under observation: each operation becomes the ONNX operators
that compute the same, whatever depends on no input becomes a constant, and a length that differs between the two
runs is the batch's, which stays free in the file.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tinygrad_cnn.core import tape
from tinygrad_cnn.core.op import Op
from tinygrad_cnn.core.tensor import Tensor
from tinygrad_cnn.errors import import_extra
from tinygrad_cnn.nn.modes import evaluating
from tinygrad_cnn.nn.module import Module
from tinygrad_cnn.serialization import write_atomically

__all__ = ["export"]

OPSET = 20  # the first with Gelu; onnxruntime 1.17 and later
IR_VERSION = 9  # what goes with it


def export(model: Module, input_shape: Sequence[int], path: str | os.PathLike[str]) -> None:
    """Writes the forward pass of `model`, in evaluation mode, for inputs (N, *input_shape) with any N, to `path`.

    The file has one input, "input", and one output, "output", in the dtype of the parameters; parameters keep their
    names. (onnxruntime convolves float32 only: export `model.to("float32")` for it.) Control flow is frozen as it went
    for zeros. The file is checked by ONNX before it is written, whole or not
    at all, and the model is left as it was.

    Raises NotImplementedError for an operation that has no ONNX form here, naming it and its module; TypeError for
    something other than a module; ImportError without the package onnx.

    >>> import tinygrad_cnn as tc
    >>> import onnx, os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "lenet5.onnx")
    >>> tc.onnx.export(tc.models.lenet5(), (1, 28, 28), path)
    >>> [node.op_type for node in onnx.load(path).graph.node][:4]
    ['Conv', 'Relu', 'MaxPool', 'Conv']
    """
    onnx = import_extra("onnx", "onnx", "tc.onnx.export")
    if not isinstance(model, Module):
        raise TypeError(f"onnx.export: model must be an nn.Module, got {type(model).__name__}")
    shape = tuple(input_shape)
    if not all(isinstance(n, int | np.integer) and n > 0 for n in shape):
        raise ValueError(f"onnx.export: input_shape must be positive lengths without the batch axis, got {input_shape}")
    dtype = next((p.dtype for p in model.parameters()), np.dtype("float32"))
    two, three = (_observe(model, np.zeros((n, *shape), dtype)) for n in (2, 3))
    if [call.op.name for call in two.calls] != [call.op.name for call in three.calls]:
        raise NotImplementedError("onnx.export: the model runs other operations for 2 images than for 3")
    graph = _Graph(onnx, {id(tensor): name for name, tensor in model.named_parameters()})
    graph.names[id(two.input)] = "input"
    for call, other in zip(two.calls, three.calls, strict=True):
        if any(id(arg) in graph.names for arg in call.args):
            graph.add(call, other)
    if id(two.output) not in graph.names:
        raise NotImplementedError("onnx.export: the output does not depend on the input")
    content = graph.finished(two.input, two.output, type(model).__name__).SerializeToString()
    write_atomically(path, lambda file: file.write(content))


# --- what the model does ------------------------------------------------------------------------------------


@dataclass
class _Call:
    """One operation as it was called: arguments (Tensors, arrays or numbers), options, result, module."""

    op: Op
    args: tuple[Any, ...]
    options: Mapping[str, Any]
    out: Tensor
    path: str

    def merged(self, other: _Call) -> _Call:
        """The same call for any batch: the length in which the shape for another batch differs is -1."""
        options, theirs = dict(self.options), other.options
        if "shape" in options:
            lengths = zip(self.out.shape, other.out.shape, strict=True)
            options["shape"] = tuple(a if a == b else -1 for a, b in lengths)
        for name, value in self.options.items():
            if options[name].count(-1) > 1 if name == "shape" else value != theirs[name]:
                raise NotImplementedError(
                    f"onnx.export: option {name!r} of op {self.op.name!r}{self.where} depends on the batch size: "
                    f"{value} for 2 images, {theirs[name]} for 3"
                )
        return _Call(self.op, self.args, options, self.out, self.path)

    @property
    def where(self) -> str:
        return f" in module {self.path!r}" if self.path else ""


@dataclass
class _Run:
    input: Tensor
    calls: list[_Call] = field(default_factory=list)
    output: Any = None


def _observe(model: Module, images: np.ndarray) -> _Run:
    run = _Run(Tensor(images))

    def note(node: Any, op: Op, args: tuple[Any, ...], options: dict[str, Any], out: Tensor) -> None:
        run.calls.append(_Call(op, args, dict(options), out, tape.STATE.get().path))

    with evaluating(model), tape.observe(on_record=note):
        run.output = model(run.input)
    if not isinstance(run.output, Tensor):
        raise NotImplementedError(f"onnx.export: the model must return one Tensor, not {type(run.output).__name__}")
    return run


# --- what the file says -------------------------------------------------------------------------------------


class _Graph:
    """ONNX nodes in the order of computation, and the constants they use."""

    def __init__(self, onnx: Any, parameters: Mapping[int, str]) -> None:
        self.onnx = onnx
        self.parameters = parameters
        self.names: dict[int, str] = {}  # of what depends on the input, by id; the run keeps the Tensors alive
        self.nodes: list[Any] = []
        self.constants: dict[str, np.ndarray] = {}

    def add(self, call: _Call, other: _Call) -> None:
        """Adds the operators of a call, seen with two batches."""
        form = FORMS.get(call.op.name)
        if form is None:
            raise NotImplementedError(
                f"onnx.export: op {call.op.name!r}{call.where} has no ONNX form here; write the model with: "
                f"{', '.join(sorted(FORMS))}"
            )
        self.names[id(call.out)] = form(self, call.merged(other))

    def name(self, value: Any, dtype: Any = None) -> str:
        """The name of a value: computed before, or a constant; a number is a constant of that dtype."""
        if id(value) in self.names:
            return self.names[id(value)]
        array = value.data if isinstance(value, Tensor) else np.asarray(value)
        if dtype is not None and not isinstance(value, Tensor | np.ndarray):
            array = array.astype(dtype)
        name = self.parameters.get(id(value)) or f"constant_{len(self.constants)}"
        self.constants[name] = np.ascontiguousarray(array).reshape(array.shape)
        return name

    def emit(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Adds a node; returns the name of its output."""
        name = f"{operator.lower()}_{len(self.nodes)}"
        self.nodes.append(self.onnx.helper.make_node(operator, inputs, [name], name=name, **attributes))
        return name

    def integers(self, values: Sequence[int]) -> str:
        return self.name(np.asarray(values, np.int64))

    def finished(self, source: Tensor, output: Tensor, title: str) -> Any:
        helper, numpy_helper = self.onnx.helper, self.onnx.numpy_helper
        self.nodes.append(helper.make_node("Identity", [self.names[id(output)]], ["output"], name="output"))

        def described(name: str, tensor: Tensor) -> Any:
            kind = helper.np_dtype_to_tensor_dtype(tensor.dtype)
            return helper.make_tensor_value_info(name, kind, ["N", *tensor.shape[1:]])

        graph = helper.make_graph(
            self.nodes,
            title,
            [described("input", source)],
            [described("output", output)],
            [numpy_helper.from_array(array, name) for name, array in self.constants.items()],
        )
        opset = helper.make_opsetid("", OPSET)
        model = helper.make_model(graph, producer_name="tinygrad_cnn", ir_version=IR_VERSION, opset_imports=[opset])
        self.onnx.checker.check_model(model, full_check=True)
        return model


# --- the form of each operation -----------------------------------------------------------------------------

Form = Callable[[_Graph, _Call], str]


def _plain(operator: str) -> Form:
    """All inputs, no options."""
    return lambda graph, call: graph.emit(operator, *(graph.name(arg, _dtype(call)) for arg in call.args))


def _dtype(call: _Call) -> np.dtype[Any]:
    return next(
        (a.dtype for a in call.args if isinstance(a, Tensor | np.ndarray) and a.dtype.kind == "f"), call.out.dtype
    )


def _with(operator: str, **names: str) -> Form:
    """One input; options under ONNX's names for them."""

    def form(graph: _Graph, call: _Call) -> str:
        attributes = {theirs: call.options[ours] for theirs, ours in names.items()}
        return graph.emit(operator, graph.name(call.args[0]), **attributes)

    return form


def _reduction(operator: str) -> Form:
    def form(graph: _Graph, call: _Call) -> str:
        x, axis = call.args[0], call.options["axis"]
        axes = range(x.ndim) if axis is None else axis if isinstance(axis, tuple) else (axis,)
        keep = int(call.options.get("keepdims", False))
        return graph.emit(operator, graph.name(x), graph.integers([a % x.ndim for a in axes]), keepdims=keep)

    return form


def _bounded(low: float | str, high: float | str) -> Form:
    """Clip between two numbers, or two options."""

    def form(graph: _Graph, call: _Call) -> str:
        bounds = (call.options[bound] if isinstance(bound, str) else bound for bound in (low, high))
        return graph.emit("Clip", graph.name(call.args[0]), *(graph.name(bound, _dtype(call)) for bound in bounds))

    return form


def _clip(graph: _Graph, call: _Call) -> str:
    x, *bounds = call.args
    if any(np.size(bound) > 1 for bound in bounds if bound is not None):
        raise NotImplementedError(f"onnx.export: clip{call.where} has arrays as bounds; ONNX wants two numbers")
    named = ("" if bound is None else graph.name(np.asarray(bound, _dtype(call)).reshape(())) for bound in bounds)
    return graph.emit("Clip", graph.name(x), *named)


def _conv(graph: _Graph, call: _Call) -> str:
    geometry = call.options["geometry"]
    return graph.emit(
        "Conv", *(graph.name(arg) for arg in call.args if arg is not None), **_windows(geometry), group=geometry.groups
    )


def _conv_transpose(graph: _Graph, call: _Call) -> str:
    geometry = call.options["geometry"]
    windows = _windows(geometry)
    d = len(geometry.stride)
    # Our padding crops; where the crop is negative, the output is longer.
    longer = [max(0, -after) for after in windows["pads"][d:]]
    windows["pads"] = [*windows["pads"][:d], *(max(0, after) for after in windows["pads"][d:])]
    inputs = (graph.name(arg) for arg in call.args if arg is not None)
    return graph.emit("ConvTranspose", *inputs, **windows, group=geometry.groups, output_padding=longer)


def _max_pool(graph: _Graph, call: _Call) -> str:
    window = call.options["window"]
    windows = _windows(window)
    size = call.args[0].shape[2:]
    # ceil_mode as padding, which never wins: runtimes differ in what they make of ONNX's own.
    d = len(size)
    for axis, (n, m, k, s, step) in enumerate(
        zip(size, call.out.shape[2:], window.kernel, window.stride, window.dilation, strict=True)
    ):
        reach = (m - 1) * s + step * (k - 1) + 1 - n - windows["pads"][axis]
        windows["pads"][d + axis] = max(reach, windows["pads"][d + axis])
    return graph.emit("MaxPool", graph.name(call.args[0]), kernel_shape=window.kernel, **windows)


def _avg_pool(graph: _Graph, call: _Call) -> str:
    window = call.options["window"]
    if call.out.shape[2:] != window._replace(ceil_mode=False).output_shape(call.args[0].shape[2:]):
        raise NotImplementedError(f"onnx.export: {call.op.name}{call.where} with ceil_mode has no ONNX form here")
    windows = _windows(window)
    include = int(call.options["include_pad"])
    return graph.emit(
        "AveragePool", graph.name(call.args[0]), kernel_shape=window.kernel, **windows, count_include_pad=include
    )


def _windows(geometry: Any) -> dict[str, Any]:
    befores, afters = zip(*geometry.padding, strict=True)
    return {"strides": geometry.stride, "pads": [*befores, *afters], "dilations": geometry.dilation}


def _linear(graph: _Graph, call: _Call) -> str:
    x, weight, bias = call.args
    if x.ndim == 2:
        operands = (graph.name(arg) for arg in (x, weight, bias) if arg is not None)
        return graph.emit("Gemm", *operands, transB=1)
    y = graph.emit("MatMul", graph.name(x), graph.emit("Transpose", graph.name(weight), perm=[1, 0]))
    return y if bias is None else graph.emit("Add", y, graph.name(bias))


def _standardize(graph: _Graph, call: _Call) -> str:
    """(x - mean) / sqrt(var + eps)"""
    x, axes = graph.name(call.args[0]), graph.integers(call.options["axes"])
    centred = graph.emit("Sub", x, graph.emit("ReduceMean", x, axes, keepdims=1))
    variance = graph.emit("ReduceMean", graph.emit("Mul", centred, centred), axes, keepdims=1)
    spread = graph.emit("Sqrt", graph.emit("Add", variance, graph.name(call.options["eps"], _dtype(call))))
    return graph.emit("Div", centred, spread)


def _pad(graph: _Graph, call: _Call) -> str:
    befores, afters = zip(*call.options["pads"], strict=True)
    inputs = [graph.name(call.args[0]), graph.integers([*befores, *afters])]
    if "mode" in call.options:
        mode = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}[call.options["mode"]]
        return graph.emit("Pad", *inputs, mode=mode)
    return graph.emit("Pad", *inputs, graph.name(call.options["value"], _dtype(call)))


def _reshape(graph: _Graph, call: _Call) -> str:
    return graph.emit("Reshape", graph.name(call.args[0]), graph.integers(call.options["shape"]), allowzero=1)


def _silu(graph: _Graph, call: _Call) -> str:
    x = graph.name(call.args[0])
    return graph.emit("Mul", x, graph.emit("Sigmoid", x))


def _square(graph: _Graph, call: _Call) -> str:
    x = graph.name(call.args[0])
    return graph.emit("Mul", x, x)


def _softplus(graph: _Graph, call: _Call) -> str:
    if call.options["beta"] != 1:
        raise NotImplementedError(f"onnx.export: softplus{call.where} has beta = {call.options['beta']}; ONNX knows 1")
    return graph.emit("Softplus", graph.name(call.args[0]))


FORMS: dict[str, Form] = {
    **{f"conv{d}d": _conv for d in (1, 2, 3)},
    **{f"conv_transpose{d}d": _conv_transpose for d in (1, 2, 3)},
    **{f"max_pool{d}d": _max_pool for d in (1, 2, 3)},
    **{f"avg_pool{d}d": _avg_pool for d in (1, 2, 3)},
    **{ours: _plain(theirs) for ours, theirs in {
        "add": "Add", "sub": "Sub", "mul": "Mul", "div": "Div", "neg": "Neg", "pow": "Pow", "matmul": "MatMul",
        "maximum": "Max", "minimum": "Min", "where": "Where", "exp": "Exp", "log": "Log", "sqrt": "Sqrt", "abs": "Abs",
        "sign": "Sign", "floor": "Floor", "ceil": "Ceil", "round": "Round", "reciprocal": "Reciprocal", "sin": "Sin",
        "cos": "Cos", "tan": "Tan", "atan": "Atan", "sinh": "Sinh", "cosh": "Cosh", "tanh": "Tanh", "erf": "Erf",
        "sigmoid": "Sigmoid", "relu": "Relu", "hardswish": "HardSwish", "clone": "Identity", "lt": "Less",
        "le": "LessOrEqual", "gt": "Greater", "ge": "GreaterOrEqual", "eq": "Equal",
    }.items()},
    **{ours: _reduction(theirs) for ours, theirs in {
        "sum": "ReduceSum", "mean": "ReduceMean", "prod": "ReduceProd", "amax": "ReduceMax", "amin": "ReduceMin",
        "norm": "ReduceL2", "logsumexp": "ReduceLogSumExp",
    }.items()},
    "leaky_relu": _with("LeakyRelu", alpha="negative_slope"),
    "elu": _with("Elu", alpha="alpha"),
    "gelu": _with("Gelu", approximate="approximate"),
    "softmax": _with("Softmax", axis="axis"),
    "log_softmax": _with("LogSoftmax", axis="axis"),
    "transpose": _with("Transpose", perm="axes"),
    "cat": lambda graph, call: graph.emit("Concat", *map(graph.name, call.args), axis=call.options["axis"]),
    "relu6": _bounded(0.0, 6.0),
    "hardtanh": _bounded("min_val", "max_val"),
    "clip": _clip,
    "linear": _linear,
    "standardize": _standardize,
    "pad": _pad,
    "extend": _pad,
    "reshape": _reshape,
    "silu": _silu,
    "square": _square,
    "softplus": _softplus,
}  # fmt: skip
