"""How to check: what a caller of `gradcheck` may choose, and what an OpSpec declares."""

from __future__ import annotations

from dataclasses import dataclass

KINDS = ("multilinear", "piecewise_linear", "piecewise_analytic", "analytic", "stochastic", "unknown")
ORACLES = ("auto", "exact", "complex", "richardson", "central")


@dataclass(frozen=True)
class Settings:
    """How to check; see `gradcheck`."""

    oracle: str = "auto"
    kind: str = "unknown"
    linear_in: tuple[int, ...] | None = None  # the arguments that a multilinear function is linear in; None: all
    probes: int = 3
    full_below: int = 64
    seed: int = 0
    rtol: float | None = None
    atol: float = 0.0
    kinks: str = "bracket"

    def __post_init__(self) -> None:
        for name, value, known in (
            ("oracle", self.oracle, ORACLES),
            ("kind", self.kind, KINDS),
            ("kinks", self.kinks, ("bracket", "skip", "error")),
        ):
            if value not in known:
                raise ValueError(f"gradcheck: {name} must be one of {', '.join(known)}, got {value!r}")
        if self.probes < 1:
            raise ValueError(f"gradcheck: probes must be at least 1, got {self.probes}")
