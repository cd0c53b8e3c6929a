"""Sums of products by index letters; a gradient of such a sum is another one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from tinygrad_cnn.checks import as_tensor, refuse_mixed_dtypes
from tinygrad_cnn.core.op import Op, op
from tinygrad_cnn.core.operators import FUNCTIONS
from tinygrad_cnn.core.tensor import Tensor
from tinygrad_cnn.errors import ShapeError

_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


def _einsum_rule(g: Tensor, xs: Any, equation: str) -> Iterator[Tensor]:
    """The einsum of g and the other operands that gives the operand's own letters."""
    terms, output = _split(equation)
    for i, term in enumerate(terms):
        others = [*xs[:i], *xs[i + 1 :]]
        subscripts = ",".join([output, *terms[:i], *terms[i + 1 :]])
        yield _einsum(g, *others, equation=f"{subscripts}->{term}")


# Here `equation` is explicit, no term names a letter twice, a letter has one length, and is in the output or two terms.
_einsum: Op = op(
    "einsum",
    lambda *xs, equation: np.einsum(equation, *xs, optimize=len(xs) > 1),
    _einsum_rule,
    doc="The sum over the letters that the output lacks of the product of the inputs.",
)


def einsum(equation: str, *operands: Any) -> Tensor:
    """Sum products of Tensors, one letter per axis: "ij,jk->ik" is a matrix product. NumPy's notation.

    Letters that the output lacks are summed over; a letter twice in a term takes the diagonal; "..." stands for
    leading axes, which broadcast. Without "->" the output has the letters that occur once, in alphabetical order.
    The gradient in one operand is the einsum of the upstream gradient and the other operands that gives its letters.

    Raises ValueError for an equation that makes no sense, ShapeError where it does not fit the shapes, TypeError for
    mixed floating dtypes.

    >>> a, b = Tensor([[1.0, 2.0], [3.0, 4.0]]), Tensor([1.0, 10.0])
    >>> einsum("ij,j->i", a, b)
    tensor([21., 43.])
    >>> einsum("ii", a)
    tensor(5.)
    """
    if len(operands) == 1 and isinstance(operands[0], list | tuple):
        operands = tuple(operands[0])
    xs = [as_tensor("einsum", x, f"operands[{i}]") for i, x in enumerate(operands)]
    terms, output = _parsed(equation, xs)
    lengths = _lengths(equation, terms, xs)
    refuse_mixed_dtypes("einsum", **{f"operands[{i}]": x for i, x in enumerate(xs)})
    count = Counter(letter for term in terms for letter in set(term))
    plain = [_plain(x, term, output, count, lengths) for x, term in zip(xs, terms, strict=True)]
    return _einsum(*(x for x, _ in plain), equation=f"{','.join(term for _, term in plain)}->{output}")


def _split(equation: str) -> tuple[list[str], str]:
    inputs, output = equation.split("->")
    return inputs.split(","), output


def _parsed(equation: str, xs: Sequence[Tensor]) -> tuple[list[str], str]:
    """The terms and the output in letters alone: no spaces, no "...", an explicit output."""
    if not isinstance(equation, str):
        raise TypeError(f"einsum: the equation must be a string such as 'ij,jk->ik', got {type(equation).__name__}")
    inputs, arrow, output = equation.replace(" ", "").partition("->")
    terms = inputs.split(",")
    if len(terms) != len(xs):
        raise ValueError(f"einsum: {equation!r} has {len(terms)} terms for {len(xs)} operands; separate them by commas")
    for term in (*terms, output):
        wrong = [c for c in term.replace("...", "", 1) if c not in _LETTERS]
        if wrong:
            raise ValueError(f"einsum: {equation!r} may hold letters, commas, '->' and '...', not {wrong[0]!r}")
    used = set(inputs + output)
    rest = [letter for letter in _LETTERS if letter not in used]
    most = max(_hidden(equation, i, term, x) for i, (term, x) in enumerate(zip(terms, xs, strict=True)))
    dots = "".join(rest[:most])
    expanded = [
        term.replace("...", dots[most - _hidden(equation, i, term, x) :])
        for i, (term, x) in enumerate(zip(terms, xs, strict=True))
    ]
    if not arrow:
        once = Counter(c for c in inputs if c in _LETTERS)
        return expanded, dots + "".join(sorted(c for c, n in once.items() if n == 1))
    output = output.replace("...", dots)
    unknown = [c for c in output if c not in "".join(expanded)]
    if unknown or len(set(output)) < len(output):
        what = f"has {unknown[0]!r}, which no term has" if unknown else "names a letter twice"
        raise ValueError(f"einsum: the output of {equation!r} {what}")
    return expanded, output


def _hidden(equation: str, i: int, term: str, x: Tensor) -> int:
    """How many axes the "..." of a term stands for."""
    named = len(term.replace("...", ""))
    if x.ndim < named or (x.ndim > named and "..." not in term):
        raise ShapeError(
            f"einsum: term {term!r} of {equation!r} names {named} axes, operands[{i}] has {x.ndim} (shape {x.shape})"
        )
    return x.ndim - named if "..." in term else 0


def _lengths(equation: str, terms: Sequence[str], xs: Sequence[Tensor]) -> dict[str, int]:
    """The length of each letter; 1 stretches to another operand's length, but not along a diagonal."""
    lengths: dict[str, int] = {}
    for term, x in zip(terms, xs, strict=True):
        for axis, (letter, n) in enumerate(zip(term, x.shape, strict=True)):
            first = term.index(letter)
            known = x.shape[first] if first < axis else lengths.get(letter, 1)
            if n != known and (first < axis or 1 not in (n, known)):
                shapes = " and ".join(str(x.shape) for x in xs)
                raise ShapeError(f"einsum: one letter of {equation!r} has lengths {known} and {n} in shapes {shapes}")
            lengths[letter] = n if known == 1 else known
    return lengths


def _plain(x: Tensor, term: str, output: str, count: Counter[str], lengths: dict[str, int]) -> tuple[Tensor, str]:
    """An operand as the record wants it: diagonals taken, letters of its own summed over, length 1 stretched."""
    letters = "".join(dict.fromkeys(term))
    if letters != term:
        own = dict(zip(term, x.shape, strict=True))
        places = dict(zip(letters, np.ix_(*(np.arange(own[letter]) for letter in letters)), strict=True))
        x = x[tuple(places[letter] for letter in term)]
    alone = tuple(axis for axis, letter in enumerate(letters) if count[letter] == 1 and letter not in output)
    if alone:
        x = x.sum(alone)
        letters = "".join(letter for axis, letter in enumerate(letters) if axis not in alone)
    shape = tuple(lengths[letter] for letter in letters)
    return (x if x.shape == shape else x.broadcast_to(shape)), letters


FUNCTIONS.update(einsum=einsum)
