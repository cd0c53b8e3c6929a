"""Terms: a function without one of its terms, by taking one `+` or `-` out of its bytecode.

So any rule can lose a term without being written again, lambdas and shared helpers included.
"""

from __future__ import annotations

import ast
import dis
import linecache
from collections.abc import Callable, Iterator
from itertools import pairwise
from types import FunctionType
from typing import Any


def without_a_term(function: Any) -> Iterator[tuple[str, Callable[..., Any]]]:
    """For each `a + b` and `a - b` of a function, the source of that sum, and the function with `a` in its place.

    >>> def rule(g, y):
    ...     return g * (1 - y * y)
    >>> [(sum_, changed(2.0, 3.0)) for sum_, changed in without_a_term(rule)]
    [('1 - y * y', 2.0)]
    """
    if not isinstance(function, FunctionType):
        return
    instructions = list(dis.get_instructions(function.__code__))
    for instruction, after in pairwise(instructions):
        if instruction.opname == "BINARY_OP" and instruction.argrepr in "+-":
            yield _source(function, instruction), _popping(function, instruction.offset, after.offset)


def _popping(function: FunctionType, begin: int, end: int) -> FunctionType:
    """Where two operands were added, the second is taken off the stack; the first stays."""
    code = bytearray(function.__code__.co_code)
    code[begin:end] = bytes([dis.opmap["NOP"], 0]) * ((end - begin) // 2)
    code[begin] = dis.opmap["POP_TOP"]
    changed = FunctionType(
        function.__code__.replace(co_code=bytes(code)),
        function.__globals__,
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    changed.__kwdefaults__ = function.__kwdefaults__
    return changed


def _source(function: FunctionType, instruction: dis.Instruction) -> str:
    """What is written there, on one line."""
    at = instruction.positions
    if at is None or at.lineno is None or at.end_lineno is None:
        return f"sum {instruction.offset}"  # source positions are switched off (python -X no_debug_ranges)
    lines = [linecache.getline(function.__code__.co_filename, n) for n in range(at.lineno, at.end_lineno + 1)]
    lines[-1] = lines[-1].encode()[: at.end_col_offset].decode()
    lines[0] = lines[0].encode()[at.col_offset :].decode()
    try:
        return ast.unparse(ast.parse(f"({''.join(lines)})", mode="eval"))
    except SyntaxError:  # no source at hand
        return f"sum {instruction.offset}"
