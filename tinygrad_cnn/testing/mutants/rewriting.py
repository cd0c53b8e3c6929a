"""Rewriting an op's record: the same record with one rule, or the forward, doing something else.

A changed rule is written in Tensor operations, as rules are, so that a wrong gradient is differentiated as faithfully
as a right one. What can only be done to arrays (writing into g, reusing a buffer) goes into the fast rules.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tinygrad_cnn.core import tape
from tinygrad_cnn.core.op import Op
from tinygrad_cnn.core.rules import Rule
from tinygrad_cnn.core.tensor import Tensor

Named = dict[str, Any]  # what a rule asked for, by name
Original = Callable[..., Any]  # runs the rule that was replaced; keywords replace what it is given
Body = Callable[[Original, Named], Any]


def positions(op: Op) -> tuple[int, ...]:
    """The inputs that have a gradient, by position; the first two of an op that takes any number."""
    if op.variadic:
        return (0, 1)
    if op.rules[0].position is None:
        return tuple(range(len(op.inputs)))
    return tuple(rule.position for rule in op.rules if rule.position is not None)


def rule_of(op: Op, position: int) -> Rule:
    """The vjp rule that gives the gradient of an input."""
    return next(_spelled_out(rule, op) for rule in op.rules if rule.position in (None, position))


def with_gradient(op: Op, position: int, change: Callable[[Tensor, Named], Any], more: Sequence[str] = ()) -> Any:
    """The op's vjp with the gradient of one input changed; `more` names what the change asks for beside the rule."""

    def body(original: Original, named: Named) -> Any:
        found = original()
        if rule.position is not None:
            return change(_tensor(found), named)
        grads = list(found)
        if position < len(grads) and grads[position] is not None:
            grads[position] = change(_tensor(grads[position]), named)
        return grads

    rule = rule_of(op, position)
    return with_rule(op, position, body, more)


def with_rule(op: Op, position: int, body: Body, more: Sequence[str] = ()) -> Any:
    """The op's vjp with one rule replaced by `body`, which may run the original."""
    target = rule_of(op, position)
    return with_function(op, target, _rewritten(target, body, more))


def with_function(op: Op, target: Rule, function: Callable[..., Any], rules: Sequence[Rule] = ()) -> Any:
    """The op's rules (or these) with the function of one of them replaced."""
    if target.position is None:
        return function
    changed = {r.position: function if r.position == target.position else r.function for r in rules or op.rules}
    return {op.inputs[position or 0]: rule for position, rule in changed.items()}


def with_fast_rule(op: Op, position: int, body: Body, more: Sequence[str] = ()) -> Any:
    """Rules on arrays for the op, one replaced by `body`; where the op has none, its vjp on arrays."""
    rules = op.fast_rules or tuple(_on_arrays(_spelled_out(rule, op), op) for rule in op.rules)
    target = next(_spelled_out(rule, op) for rule in rules if rule.position in (None, position))
    return with_function(op, target, _rewritten(target, body, more), rules)


def with_forward(op: Op, body: Callable[..., Any]) -> Callable[..., Any]:
    """The op's forward replaced by `body(forward, inputs, options)`, which may run the original."""

    def forward(*inputs: Any, **options: Any) -> Any:
        return body(original, inputs, options)

    original = op.forward
    forward.__signature__ = _signature(original)  # type: ignore[attr-defined]
    return forward


def on_output(change: Callable[[np.ndarray], Any]) -> Callable[..., Any]:
    """A body for `with_forward` that changes the output and hands on the auxiliary ones."""

    def body(forward: Any, inputs: tuple[Any, ...], options: Named) -> Any:
        found = forward(*inputs, **options)
        if isinstance(found, tuple):
            return (change(np.asarray(found[0])), *found[1:])
        return change(np.asarray(found))

    return body


# ---- helpers -----------------------------------------------------------------------------------------------------


def _spelled_out(rule: Rule, op: Op) -> Rule:
    """A rule that takes `**options` as one that names them all."""
    if not rule.takes_options:
        return rule
    known = (*rule.names, *rule.keyword_names)
    more = tuple(option for option in op.options if option not in known)
    return replace(rule, keyword_names=(*rule.keyword_names, *more), takes_options=False)


def _rewritten(rule: Rule, body: Body, more: Sequence[str]) -> Callable[..., Any]:
    own = (*rule.names, *rule.keyword_names)
    names = list(dict.fromkeys((*own, *more)))

    def rewritten(*values: Any) -> Any:
        named = dict(zip(names, values, strict=True))

        def original(**replaced: Any) -> Any:
            given = {**named, **replaced}
            keywords = {name: given[name] for name in rule.keyword_names}
            return rule.function(*(given[name] for name in rule.names), **keywords)

        return body(original, named)

    rewritten.__signature__ = _parameters(names)  # type: ignore[attr-defined]
    return rewritten


def _on_arrays(rule: Rule, op: Op) -> Rule:
    """A rule on Tensors as one on arrays; options reach it as they are."""

    def function(*values: Any) -> Any:
        with tape.no_grad():
            given = [v if word in op.options else _as_tensor(v) for word, v in zip(names, values, strict=True)]
            keywords = dict(zip(rule.keyword_names, given[len(rule.names) :], strict=True))
            found = rule.function(*given[: len(rule.names)], **keywords)
        return _array(found) if rule.position is not None else [None if d is None else _array(d) for d in found]

    names = (*rule.names, *rule.keyword_names)
    function.__signature__ = _parameters(names)  # type: ignore[attr-defined]
    return Rule("fast", function, rule.position, names, (), False, False)


def _parameters(names: Sequence[str]) -> inspect.Signature:
    return inspect.Signature([inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in names])


def _signature(forward: Any) -> inspect.Signature:
    if isinstance(forward, np.ufunc):
        return _parameters(("x",) if forward.nin == 1 else ("a", "b"))
    return inspect.signature(forward)


def _as_tensor(value: Any) -> Any:
    if type(value) is tuple:  # the inputs of an op that takes any number
        return tuple(_as_tensor(v) for v in value)
    return Tensor._wrap(value.view(), None) if isinstance(value, np.ndarray) else value


def _tensor(d: Any) -> Tensor:
    return d if isinstance(d, Tensor) else Tensor(d)


def _array(d: Any) -> np.ndarray:
    return d.data if isinstance(d, Tensor) else np.asarray(d)


def aux_changed(op: Op, change: Callable[[Any], Any]) -> Mapping[str, Any]:
    """The op's declared auxiliary outputs, each function changed."""
    return {name: None if function is None else change(function) for name, function in op.aux.items()}
