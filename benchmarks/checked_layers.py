"""Calls of operations at the sizes of a small convolutional network, with values away from every kink."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_cnn.testing import OpCase

Shape = tuple[int, ...]


def layers(seed: int = 0) -> dict[str, OpCase]:
    """One call per operation, by name."""
    rng = np.random.default_rng(seed)

    def normal(*shape: int, scale: float = 1.0) -> np.ndarray:
        return rng.standard_normal(shape) * scale

    def kinked(*shape: int) -> np.ndarray:
        """At least a tenth away from every integer."""
        return np.floor(normal(*shape, scale=2)) + rng.uniform(0.1, 0.9, shape)

    def apart(*shape: int) -> np.ndarray:
        """No two closer than a hundredth."""
        size = int(np.prod(shape))
        return (rng.permutation(size).reshape(shape) - size / 2 + 0.5) / 100

    def call(*args: Any, **kwargs: Any) -> OpCase:
        return OpCase(args, kwargs, seed)

    hidden = (64, 120)
    smooth = ("exp", "tanh", "sigmoid", "gelu", "silu", "softplus", "sin", "square")
    options = {"gelu": {"approximate": "none"}, "softplus": {"beta": 1.0, "threshold": 20.0}}
    piecewise = {"relu": {}, "abs": {}, "relu6": {}, "leaky_relu": {"negative_slope": 0.01}, "elu": {"alpha": 1.0}}
    pool: dict[str, Any] = {"kernel_size": (2, 2), "stride": None, "padding": (0, 0), "ceil_mode": False}
    window: dict[str, Any] = {"stride": (2, 2), "padding": (1, 1), "dilation": (1, 1)}
    return {
        **{name: call(normal(*hidden), **options.get(name, {})) for name in smooth},
        **{name: call(kinked(*hidden), **kwargs) for name, kwargs in piecewise.items()},
        **{name: call(normal(*hidden), normal(120)) for name in ("add", "sub", "mul")},
        "div": call(normal(*hidden), rng.uniform(0.5, 2, 120)),
        "pow": call(rng.uniform(0.5, 2, hidden), normal(120)),
        "maximum": call(apart(*hidden), apart(*hidden) + 0.005),
        "where": call(rng.random(hidden) < 0.5, normal(*hidden), normal(120)),
        "matmul": call(normal(64, 120), normal(120, 84)),
        "linear": call(normal(64, 120), normal(84, 120), normal(84)),
        "conv2d": call(normal(8, 6, 28, 28), normal(16, 6, 5, 5), normal(16), **window, groups=1),
        "conv_transpose2d": call(
            normal(8, 16, 7, 7), normal(16, 6, 3, 3), normal(6), **window, output_padding=(1, 1), groups=1
        ),
        "max_pool2d": call(apart(8, 6, 28, 28), **pool, dilation=(1, 1)),
        "avg_pool2d": call(normal(8, 6, 28, 28), **pool, count_include_pad=True),
        "unfold": call(normal(4, 6, 14, 14), (3, 3), **window),
        "interpolate": call(normal(4, 6, 14, 14), mode="bilinear", align_corners=False, scale_factor=2),
        "batch_norm": call(normal(16, 16, 14, 14) + 3, normal(16), normal(16), axes=(0, 2, 3), eps=1e-5),
        "softmax": call(normal(128, 100), axis=1),
        "log_softmax": call(normal(128, 100), axis=1),
        "cross_entropy": call(normal(128, 100), rng.integers(0, 100, 128), reduction="mean"),
        "sum": call(normal(*hidden), axis=(0,), keepdims=False),
        "mean": call(normal(*hidden), axis=(0,), keepdims=False),
        "var": call(normal(*hidden), axis=(0,), keepdims=False, correction=1),
        "amax": call(apart(*hidden), axis=(0,), keepdims=False),
        "max": call(apart(*hidden), axis=1, keepdims=False),
        "cumsum": call(normal(*hidden), axis=1),
        "logsumexp": call(normal(*hidden), axis=(1,), keepdims=False),
        "getitem": call(normal(200, 60), rng.integers(0, 200, 128)),
        "embedding": call(rng.integers(0, 200, (16, 8)), normal(200, 60)),
        "take_along_axis": call(normal(*hidden), rng.integers(0, 120, (64, 20)), 1),
        "cat": call(normal(64, 60), normal(64, 60), axis=1),
        "transpose": call(normal(8, 6, 14, 14), axes=(0, 2, 3, 1)),
        "reshape": call(normal(8, 6, 14, 14), (8, 1176)),
        "pad": call(normal(8, 6, 14, 14), pads=((0, 0), (0, 0), (2, 1), (1, 2)), value=0.0),
        "dropout": call(normal(*hidden), mask=rng.random(hidden) < 0.5, scale=2.0),
    }
