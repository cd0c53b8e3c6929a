"""Name injection: what the parameters of a forward and of its rules mean, worked out once, at definition.

`Signature` reads a forward, `Rule` a vjp rule, and `Plan` joins them for one subset of inputs that want a gradient:
what to save in the forward pass, and which saved value goes to which parameter in the backward pass.
"""

from __future__ import annotations

import dis
import inspect
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import CodeType
from typing import Any

import numpy as np

REQUIRED = inspect.Parameter.empty
_RESERVED = ("g", "y")


@dataclass(frozen=True)
class Signature:
    """The inputs, options and auxiliary outputs of a forward, by name."""

    name: str
    inputs: tuple[str, ...]
    optional: frozenset[str]
    options: dict[str, Any]
    positional: tuple[str, ...]  # all parameters that may be given by position, in order
    variadic: bool
    aux: dict[str, Any]
    required_options: tuple[str, ...]

    @staticmethod
    def of(name: str, forward: Callable[..., Any], aux: Mapping[str, Any]) -> Signature:
        """Read a forward: no default or None: an input; another default, or after `*`: an option; `*xs`: variadic."""
        inputs: list[str] = []
        optional: list[str] = []
        options: dict[str, Any] = {}
        positional: list[str] = []
        variadic = False
        for p in _parameters(name, forward):
            if p.kind is p.VAR_POSITIONAL:
                if inputs:
                    raise ValueError(f"op {name!r}: `*{p.name}` must be the only input, but {inputs} come before it")
                variadic = True
                inputs.append(p.name)
            elif p.kind is p.VAR_KEYWORD:
                raise ValueError(f"op {name!r}: forward must name its options one by one, not take `**{p.name}`")
            elif p.kind is p.KEYWORD_ONLY or not (p.default is REQUIRED or p.default is None):
                options[p.name] = p.default
                if p.kind is not p.KEYWORD_ONLY:
                    positional.append(p.name)
            else:
                inputs.append(p.name)
                positional.append(p.name)
                if p.default is None:
                    optional.append(p.name)
        if not inputs:
            raise ValueError(f"op {name!r}: forward has no input; a parameter without default, or with None, is one")
        names = [*inputs, *options, *aux]
        for word in names:
            if word in _RESERVED:
                meaning = "the upstream gradient" if word == "g" else "the output"
                raise ValueError(f"op {name!r}: {word!r} means {meaning} in a rule; call that parameter otherwise")
            if names.count(word) > 1:
                raise ValueError(f"op {name!r}: {word!r} names two different things")
        required = tuple(o for o, default in options.items() if default is REQUIRED)
        return Signature(
            name, tuple(inputs), frozenset(optional), options, tuple(positional), variadic, dict(aux), required
        )

    def bind(self, args: tuple[Any, ...], keywords: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Sort what a caller gave into inputs by position and a full set of options."""
        options = {**self.options, **keywords}
        complete = (self.variadic or len(args) == len(self.inputs)) and len(options) == len(self.options)
        if complete and not any(options[o] is REQUIRED for o in self.required_options):
            return args, options  # the usual call
        options = dict(self.options)
        if self.variadic:
            given: dict[str, Any] = {}
            inputs = args
        else:
            if len(args) > len(self.positional):
                raise TypeError(f"{self.name}{self} takes {len(self.positional)} positional arguments, got {len(args)}")
            given = dict(zip(self.positional, args, strict=False))
        for word, value in keywords.items():
            if word in given:
                raise TypeError(f"{self.name}: {word!r} was given twice")
            if word not in options and (self.variadic or word not in self.inputs):
                known = ", ".join([*(() if self.variadic else self.inputs), *options])
                raise TypeError(f"{self.name}: no parameter {word!r}; it has {known}")
            given[word] = value
        if not self.variadic:
            missing = [i for i in self.inputs if i not in given and i not in self.optional]
            if missing:
                raise TypeError(f"{self.name}: missing input {', '.join(map(repr, missing))}")
            inputs = tuple(given.pop(i, None) for i in self.inputs)
        options.update(given)
        missing = [o for o, value in options.items() if value is REQUIRED]
        if missing:
            raise TypeError(f"{self.name}: missing option {', '.join(map(repr, missing))}")
        return inputs, options

    def as_inspected(self) -> inspect.Signature:
        """The call as `inspect.signature` shows it: inputs, then options."""
        kind = inspect.Parameter.VAR_POSITIONAL if self.variadic else inspect.Parameter.POSITIONAL_OR_KEYWORD
        parameters = []
        for name in self.inputs:
            parameters.append(inspect.Parameter(name, kind, default=None if name in self.optional else REQUIRED))
        for name, default in self.options.items():
            where = (
                inspect.Parameter.POSITIONAL_OR_KEYWORD if name in self.positional else inspect.Parameter.KEYWORD_ONLY
            )
            parameters.append(inspect.Parameter(name, where, default=default))
        parameters.sort(key=lambda p: (p.kind, self.positional.index(p.name) if p.name in self.positional else 0))
        return inspect.Signature(parameters)

    def __str__(self) -> str:
        inputs = [f"*{self.inputs[0]}"] if self.variadic else list(self.inputs)
        options = [o if default is REQUIRED else f"{o}={default!r}" for o, default in self.options.items()]
        return f"({', '.join([*inputs, *(['*', *options] if options else [])])})"


@dataclass(frozen=True)
class Rule:
    """A vjp rule: a function and what its parameters ask for. `position` is its input's, None for a joint rule."""

    kind: str
    function: Callable[..., Any]
    position: int | None
    names: tuple[str, ...]  # asked for by position
    keyword_names: tuple[str, ...]  # asked for by keyword
    takes_options: bool
    plain: bool
    pick: Callable[[Sequence[Any]], tuple[Any, ...]] = tuple  # its arguments out of [g, *saved, *options]; by a Plan
    keywords: tuple[tuple[str, int], ...] = ()


def parse_rules(signature: Signature, vjp: Any, kind: str) -> tuple[Rule, ...]:
    """The rules of an op in any of the accepted forms, each checked against the signature."""
    if vjp is None:
        return ()
    inputs = signature.inputs
    single = len(inputs) == 1 and not signature.variadic
    if callable(vjp):
        return (_parse_rule(signature, vjp, 0 if single else None, kind),)
    if signature.variadic:
        raise ValueError(f"op {signature.name!r}: an op of any number of inputs takes one joint {kind} rule")
    if isinstance(vjp, Mapping):
        unknown = [word for word in vjp if word not in inputs]
        if unknown:
            raise ValueError(
                f"op {signature.name!r}: {kind} has rules for {unknown}, but the inputs are {list(inputs)}"
            )
        by_input = [vjp.get(word) for word in inputs]
    elif isinstance(vjp, tuple | list):
        if len(vjp) != len(inputs):
            raise ValueError(
                f"op {signature.name!r}: {kind} has {len(vjp)} rules for {len(inputs)} inputs {list(inputs)}; write "
                "None for an input that is not differentiable"
            )
        by_input = list(vjp)
    else:
        raise TypeError(
            f"op {signature.name!r}: {kind} must be a function, a tuple or a dict, not {type(vjp).__name__}"
        )
    return tuple(_parse_rule(signature, f, i, kind) for i, f in enumerate(by_input) if f is not None)


def _parse_rule(signature: Signature, function: Any, position: int | None, kind: str) -> Rule:
    if not callable(function):
        raise TypeError(f"op {signature.name!r}: a {kind} rule must be a function, not {type(function).__name__}")
    known = [*_RESERVED, *_injectable(signature)]
    names: list[str] = []
    keyword_names: list[str] = []
    takes_options = False
    for p in _parameters(signature.name, function):
        if p.kind is p.VAR_KEYWORD:
            takes_options = True
        elif p.kind is p.VAR_POSITIONAL or p.name not in known:
            if p.default is not REQUIRED:
                continue  # a rule's own constant
            raise ValueError(
                f"op {signature.name!r}: a {kind} rule asks for {p.name!r}, which is unknown; it may ask for "
                f"{', '.join(known)} or **options"
            )
        elif p.kind is p.KEYWORD_ONLY:
            keyword_names.append(p.name)
        else:
            names.append(p.name)
    plain = _is_plain_arithmetic(function)
    return Rule(kind, function, position, tuple(names), tuple(keyword_names), takes_options, plain)


def _injectable(signature: Signature) -> list[str]:
    shapes = [f"{word}_shapes" if signature.variadic else f"{word}_shape" for word in signature.inputs]
    return [*signature.inputs, *shapes, *signature.options, *signature.aux]


@dataclass(frozen=True)
class Plan:
    """For one subset of inputs that want a gradient: what to save, which rules run, what goes where."""

    rules: tuple[Rule, ...]
    fast: tuple[Rule, ...]
    saved_names: tuple[str, ...]
    origins: tuple[tuple[str, int, Any], ...]  # (kind, position, function of an auxiliary output)
    option_names: tuple[str, ...]
    saves_arrays: bool
    pick: Callable[[Sequence[Any]], tuple[Any, ...]] | None = None  # saved arrays out of (*inputs, output, *aux)
    aux_arguments: dict[int, tuple[int, ...]] = field(default_factory=dict)
    aux_options: dict[int, tuple[str, ...]] = field(default_factory=dict)

    @property
    def saves(self) -> bool:
        return bool(self.origins)

    @staticmethod
    def make(signature: Signature, rules: Sequence[Rule], fast: Sequence[Rule] | None, wants: int) -> Plan:
        """Resolve the rules of the inputs whose bit is set in `wants`."""
        active = [r for r in rules if r.position is None or wants >> r.position & 1]
        quick = [r for r in fast or () if r.position is None or wants >> r.position & 1]
        asked = {name for r in (*active, *quick) for name in (*r.names, *r.keyword_names)}
        aux_needs = {a: _aux_parameters(signature, a) for a in signature.aux if a in asked and signature.aux[a]}
        for inputs, _ in aux_needs.values():
            asked.update(inputs)
        origins = {name: origin for name, origin in _origins(signature).items() if name in asked}
        saved_names = tuple(origins)
        option_names = tuple(o for o in signature.options if o in asked)
        index = {name: i for i, name in enumerate(("g", *saved_names, *option_names))}
        return Plan(
            rules=tuple(_resolved(r, index) for r in active),
            fast=tuple(_resolved(r, index) for r in quick),
            saved_names=saved_names,
            origins=tuple(origins.values()),
            option_names=option_names,
            pick=_picking_origins(signature, tuple(origins.values())),
            saves_arrays=any(kind != "shape" for kind, _, _ in origins.values()),
            aux_arguments={index[a] - 1: tuple(index[i] for i in needs[0]) for a, needs in aux_needs.items()},
            aux_options={index[a] - 1: needs[1] for a, needs in aux_needs.items()},
        )

    def save(self, arrays: list[Any], out: np.ndarray, aux: tuple[Any, ...]) -> tuple[Any, ...]:
        """What backward will need of this call, in the order of `saved_names`."""
        if self.pick is not None:
            return self.pick((*arrays, out, *aux))
        saved: list[Any] = []
        for kind, position, _ in self.origins:
            if kind == "shape":
                saved.append(np.shape(arrays[position]) if position >= 0 else tuple(np.shape(a) for a in arrays))
            elif kind == "inputs":
                saved.append(tuple(arrays))
            else:
                saved.append(arrays[position] if kind == "input" else out if kind == "output" else aux[position])
        return tuple(saved)


def _origins(signature: Signature) -> dict[str, tuple[str, int, Any]]:
    origins: dict[str, tuple[str, int, Any]] = {"y": ("output", 0, None)}
    if signature.variadic:
        word = signature.inputs[0]
        origins[word] = ("inputs", 0, None)
        origins[f"{word}_shapes"] = ("shape", -1, None)
    else:
        for i, word in enumerate(signature.inputs):
            origins[word] = ("input", i, None)
            origins[f"{word}_shape"] = ("shape", i, None)
    for i, (word, function) in enumerate(signature.aux.items()):
        origins[word] = ("aux", i, function)
    return origins


def _resolved(rule: Rule, index: dict[str, int]) -> Rule:
    return Rule(
        rule.kind, rule.function, rule.position, rule.names, rule.keyword_names, rule.takes_options, rule.plain,
        pick=_picking([index[n] for n in rule.names]),
        keywords=tuple((n, index[n]) for n in rule.keyword_names),
    )  # fmt: skip


def _picking_origins(
    signature: Signature, origins: Sequence[tuple[str, int, Any]]
) -> Callable[[Sequence[Any]], tuple[Any, ...]] | None:
    """The quick way to save, if whole arrays of an op with a fixed number of inputs are all there is to save."""
    if signature.variadic or any(kind in ("shape", "inputs") for kind, _, _ in origins):
        return None
    before = {"input": 0, "output": len(signature.inputs), "aux": len(signature.inputs) + 1}
    return _picking([before[kind] + position for kind, position, _ in origins])


def _picking(places: Sequence[int]) -> Callable[[Sequence[Any]], tuple[Any, ...]]:
    """A function that picks these places out of a sequence; always a tuple, unlike `itemgetter`."""
    if len(places) > 1:
        return operator.itemgetter(*places)
    if not places:
        return lambda values: ()
    only = places[0]
    return lambda values: (values[only],)


def _aux_parameters(signature: Signature, aux: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The inputs (by position) and options (by keyword) that the function behind an auxiliary output takes.

    By name where the names are the op's; a function with names of its own gets the inputs in order.
    """
    inputs: list[str] = []
    options: list[str] = []
    required = 0
    named = True
    for p in _parameters(signature.name, signature.aux[aux]):
        if p.name in signature.options:
            options.append(p.name)
        elif p.name in signature.inputs:
            inputs.append(p.name)
            required += p.default is REQUIRED
        elif p.default is REQUIRED and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD):
            named = False
            required += 1
    if not named:
        if required > len(signature.inputs):
            raise ValueError(
                f"op {signature.name!r}: the function of auxiliary output {aux!r} takes {required} arguments, "
                f"but the op has the inputs {list(signature.inputs)}"
            )
        inputs = list(signature.inputs[:required])
    return tuple(inputs), tuple(options)


def _parameters(name: str, function: Callable[..., Any]) -> list[inspect.Parameter]:
    if isinstance(function, np.ufunc):  # its signature would show `out=None` and more
        words = ("x",) if function.nin == 1 else ("a", "b")[: function.nin]
        return [inspect.Parameter(word, inspect.Parameter.POSITIONAL_OR_KEYWORD) for word in words]
    signature = getattr(function, "signature", None)
    if isinstance(signature, Signature):  # an Op
        return [inspect.Parameter(word, inspect.Parameter.POSITIONAL_OR_KEYWORD) for word in signature.inputs] + [
            inspect.Parameter(o, inspect.Parameter.KEYWORD_ONLY, default=d) for o, d in signature.options.items()
        ]
    try:
        return list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"op {name!r}: the parameters of {function!r} can not be read; wrap it in a lambda that names them"
        ) from error


_WRITES = ("STORE_SUBSCR", "STORE_ATTR", "STORE_SLICE", "DELETE_SUBSCR")


def _is_plain_arithmetic(function: Any) -> bool:
    """Whether a rule is arithmetic on its arguments alone, which means the same on arrays as on Tensors."""
    code = getattr(function, "__code__", None)
    if code is None or code.co_freevars or not set(code.co_names) <= {"T", "mT"}:
        return False
    if any(isinstance(constant, CodeType) for constant in code.co_consts):
        return False
    return not any(
        i.opname in _WRITES or (i.opname == "BINARY_OP" and i.argrepr.endswith("=")) for i in dis.get_instructions(code)
    )
