"""Directions to differentiate along, and upstream gradients: random-sign integers of spread size, times a power of two.

Plain ±1 probes miss a swap of two elements in three of four draws; integers up to 16 in 7 of 100, and never thrice. All
steps along them are exact in binary, and scaled to the size at which the input varies, not to its magnitude.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tinygrad_cnn.testing.differences import Array

SPREAD = 16


def spread_integers(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Integers 1…16 with random signs, as floats."""
    return rng.integers(1, SPREAD + 1, shape) * rng.choice([-1.0, 1.0], shape)


def element_scale(x: Array) -> Array:
    """A power of two near the size of every element; zeros get that of the array."""
    x = np.asarray(x, np.float64)
    with np.errstate(divide="ignore"):
        return np.where(x == 0, array_scale(x), _power_of_two(np.where(x == 0, 1.0, np.abs(x))))


def array_scale(x: Array) -> float:
    """A power of two near the spread of an array's values (batch norm at 1e6 ± 1 varies on the scale of 1)."""
    x = np.asarray(x, np.float64)
    x = x[np.isfinite(x)]
    if not x.size:
        return 1.0
    top = float(np.abs(x).max()) or 1.0
    spread = float(np.std(x / top)) * top
    size = spread if spread > 1e-9 * top else float(np.sqrt(np.mean((x / top) ** 2))) * top
    return float(_power_of_two(np.asarray(size or 1.0)))


def feature_scale(x: Array) -> Array:
    """A power of two on which a function may vary with each element."""
    return np.minimum(element_scale(x), array_scale(x))


def balanced(sizes: Array, limit: float) -> Array:
    """Powers of two inverse to the sizes, so that each term of a sum of products weighs alike; zeros get 1."""
    sizes = np.abs(np.asarray(sizes, np.float64))
    usable = np.isfinite(sizes) & (sizes > 0)
    if not usable.any():
        return np.ones(sizes.shape)
    middle = float(np.exp(np.mean(np.log(sizes[usable]))))
    ratio = np.where(usable, np.clip(middle / np.where(usable, sizes, 1.0), 1 / limit, limit), 1.0)
    return _power_of_two(ratio)


def value_classes(inputs: Mapping[int, Array]) -> tuple[dict[int, np.ndarray], Array, np.ndarray]:
    """Number the distinct values over all inputs together: the class of each element; of each class, value and count.

    Moving every class as one keeps ties tied, so that a maximum over tied elements has a derivative along that move.
    """
    flat = np.concatenate([np.asarray(x, np.float64).reshape(-1) for x in inputs.values()])
    values, numbers, counts = np.unique(flat, return_inverse=True, return_counts=True)
    classes, start = {}, 0
    for position, x in inputs.items():
        classes[position] = numbers[start : start + x.size].reshape(x.shape)
        start += x.size
    return classes, values, counts


def on_grid(x: Array, denominator: int = 2, limit: float = 2.0**16) -> bool:
    """Whether all values are small multiples of 1/denominator, so that sums of products are exact."""
    scaled = np.asarray(x, np.float64) * denominator
    with np.errstate(invalid="ignore"):
        return bool(np.all((scaled == np.round(scaled)) & (np.abs(scaled) <= limit)))


def jittered(inputs: Mapping[int, Array], rng: np.random.Generator, unit: float) -> dict[int, Array]:
    """The same values off by one to four roundings (unit < 0: the other way); equal values stay equal, zeros zero."""
    classes, values, _ = value_classes(inputs)
    factor = 1.0 + unit * rng.integers(4, 17, values.size) * rng.choice([-1.0, 1.0], values.size) / 4
    return {p: (x * factor[classes[p]]).astype(x.dtype) for p, x in inputs.items()}


def _power_of_two(size: Array) -> Array:
    """The nearest power of two, kept away from the ends of the number range."""
    return np.exp2(np.clip(np.round(np.log2(size)), -900, 900))
