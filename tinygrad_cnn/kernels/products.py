"""Products of matrices, in the pieces that BLAS is fastest with."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import numpy as np
from threadpoolctl import ThreadpoolController

from .layout import Array
from .threads import share

# With AVX-512, OpenBLAS multiplies matrices of up to 100^3 multiplications as they lie. Larger ones it copies into
# panels first, which tall and narrow products do not earn back: 90 against 113 GFLOP/s for (1024, 288) @ (288, 32).
_UNCOPIED = 10**6
_CORES = ("SkylakeX", "Cooperlake", "SapphireRapids")
_LEAST_ROWS = 8
_STRETCH = 1024

_PER_MULTIPLICATION = 0.02  # nanoseconds
_STRIPE = 50_000  # nanoseconds
_MOST_STRIPES = 8


def matmul(a: Array, b: Array) -> Array:
    """a @ b as NumPy means it; large products of two matrices are shared among threads, a stripe of the result each."""
    nanoseconds = a.size * b.shape[-1] * _PER_MULTIPLICATION
    if not (nanoseconds > _STRIPE and a.ndim == b.ndim == 2 and a.dtype == b.dtype and a.dtype.kind == "f"):
        return share(lambda _: np.asarray(a @ b), [None], nanoseconds)[0]
    out = np.empty((len(a), b.shape[1]), a.dtype)
    across = b.shape[1] > len(a)
    length = b.shape[1] if across else len(a)
    step = -(-length // min(int(nanoseconds / _STRIPE), _MOST_STRIPES))

    def work(some: Iterator[slice]) -> None:
        for at in some:
            if across:
                np.matmul(a, b[:, at], out=out[:, at])
            else:
                np.matmul(a[at], b, out=out[at])

    share(work, [slice(i, i + step) for i in range(0, length, step)], nanoseconds)
    return out


def product(a: Array, b: Array, out: Array | None = None) -> Array:
    """(..., M, K) @ (..., K, N), the leading axes being the same: `np.matmul`, a few rows at a time where that pays."""
    rows = _rows_at_once(a.shape[-2], a.shape[-1] * b.shape[-1])
    if rows == a.shape[-2]:
        return np.matmul(a, b, out=out)
    if out is None:
        out = np.empty((*a.shape[:-1], b.shape[-1]), np.result_type(a, b))
    np.matmul(_split(a, rows), b[..., np.newaxis, :, :], out=_split(out, rows))
    return out


def sum_of_products(a: Array, b: Array) -> Array:
    """Product with a long inner axis, (..., K, M) @ (..., M, N), a stretch of it at a time."""
    inner = b.shape[-2]
    stretch = _divisor(inner, _STRETCH) if _has_uncopied_products() else inner
    if stretch == inner:
        return product(a, b)
    a = a.reshape(*a.shape[:-1], inner // stretch, stretch).swapaxes(-2, -3)
    parts = product(a, _split(b, stretch))
    return np.asarray(parts.sum(-3))


def _split(a: Array, rows: int) -> Array:
    """View (..., M, K) as (..., M / rows, rows, K)."""
    return a.reshape(*a.shape[:-2], a.shape[-2] // rows, rows, a.shape[-1])


@functools.lru_cache(4096)
def _rows_at_once(rows: int, multiplications: int) -> int:
    """The largest divisor of rows whose product, at so many multiplications a row, BLAS does without a copy."""
    if rows * multiplications <= _UNCOPIED or not _has_uncopied_products():
        return rows
    return _divisor(rows, _UNCOPIED // multiplications)


@functools.lru_cache(4096)
def _divisor(n: int, most: int) -> int:
    """The largest divisor of n up to `most`; n itself if it would be small."""
    return next((m for m in range(min(n, most), _LEAST_ROWS - 1, -1) if n % m == 0), n)


@functools.cache
def _has_uncopied_products() -> bool:
    libraries = ThreadpoolController().select(user_api="blas").info()
    return any(library.get("architecture") in _CORES for library in libraries)
