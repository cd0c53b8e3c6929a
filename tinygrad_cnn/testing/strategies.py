"""The Hypothesis layer: strategies for the calls of an op, and tests made of laws. Needs the extra `testing`.

Hypothesis draws structure and a seed for the values, and shrinks the structure of a failing call.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, MutableMapping
from typing import TYPE_CHECKING, Any

from tinygrad_cnn.errors import import_extra
from tinygrad_cnn.testing.battery import CASELESS, check_case, laws_of
from tinygrad_cnn.testing.draws import Draw
from tinygrad_cnn.testing.specs import OpCase, OpSpec, as_arrays, cases, spec_named

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

EXAMPLES = {"debug": 2, "fast": 6, "ci": 25, "nightly": 2000}  # of each law; half as many of the dear ones
_DEAR = frozenset({"second"})
_WAIVED_TRIES = 200


def op_case(op: Any, *, dtype: str | None = None) -> SearchStrategy[OpCase]:
    """A strategy for calls of an op; `op` as for `run_battery`, `dtype` that of its floating arrays.

    >>> from hypothesis import find
    >>> from tinygrad_cnn import testing
    >>> case = find(testing.op_case("conv2d"), lambda case: case.args[0].size > 0)
    >>> case.args[0].shape
    (1, 1, 1, 1)
    """
    strategies = import_extra("hypothesis.strategies", "testing", "testing.op_case")
    spec = spec_named(op)

    @strategies.composite
    def call(draw: Callable[[Any], Any]) -> OpCase:
        seed = draw(strategies.integers(0, 2**32 - 1))
        drawn = spec.case(Draw(lambda low, high: draw(strategies.integers(low, high)), seed))
        return OpCase(as_arrays(drawn.args, dtype), drawn.kwargs, drawn.seed)

    return call()


def make_tests(
    namespace: MutableMapping[str, Any], ops: Iterable[Any] | None = None, *, profile: str | None = None
) -> None:
    """Put a pytest test for each op into a module's namespace, with one case per law: ``make_tests(globals())``.

    `ops` are names, Ops, functions or specs (all registered ones by default). The tests are called test_<op>, their ids
    <op>-<law>: ``pytest -k conv2d-adjoint``. `profile` says how many calls each law is held to: "debug", "fast", "ci"
    or "nightly"; if left out, what --tgc-profile or the environment variable TGC_PROFILE says when the tests run, or
    "fast". The calls are the same in every run, but for "nightly", and with --tgc-seed or TGC_SEED.

    Raises ValueError for another profile, KeyError for an op that is not registered.
    """
    pytest = import_extra("pytest", "testing", "testing.make_tests")
    _examples(profile)
    for op in cases().values() if ops is None else ops:
        spec = spec_named(op)
        laws = laws_of(spec)
        parametrize = pytest.mark.parametrize("law", laws, ids=[f"{spec.name}-{law}" for law in laws])
        namespace[f"test_{spec.name}"] = pytest.mark.tgc(op=spec.name)(parametrize(_test_of(spec, profile)))


def _examples(profile: str | None) -> tuple[str, int]:
    """The profile that holds now, and its number of calls."""
    profile = profile or os.environ.get("TGC_PROFILE", "fast")
    if profile not in EXAMPLES:
        raise ValueError(f"make_tests: profile must be one of {', '.join(EXAMPLES)}, got {profile!r}")
    return profile, EXAMPLES[profile]


def _test_of(spec: OpSpec, profile: str | None) -> Callable[[str], None]:
    def test(law: str) -> None:
        if law in CASELESS:
            check_case(spec.name, spec.case(Draw.seeded(0)), law)
        elif law in spec.waive:
            _expect_failure(spec, law)
        else:
            _property(spec, law, profile)()

    test.__doc__ = f"The laws of {spec.name}."
    return test


def _property(spec: OpSpec, law: str, profile: str | None) -> Callable[[], None]:
    hypothesis = import_extra("hypothesis", "testing", "testing.make_tests")
    profile, examples = _examples(profile)
    seed = os.environ.get("TGC_SEED")
    settings = hypothesis.settings(
        max_examples=max(examples // 2, min(5, examples)) if law in _DEAR else examples,
        derandomize=profile != "nightly" and seed is None,
        database=None,
        deadline=None,
        print_blob=False,  # the report has a snippet of its own
        suppress_health_check=list(hypothesis.HealthCheck),
    )

    @settings
    @hypothesis.given(op_case(spec))
    def holds(case: OpCase) -> None:
        check_case(spec.name, case, law)

    return hypothesis.seed(int(seed))(holds) if seed is not None else holds


def _expect_failure(spec: OpSpec, law: str) -> None:
    """A waived law must be broken by some call, else the waiver is to be removed."""
    for seed in range(_WAIVED_TRIES):
        report = check_case(spec.name, spec.case(Draw.seeded(seed)), law, raise_=False)
        if not report.ok:
            return
    raise AssertionError(f"{spec.name} waives the law {law!r} ({spec.waive[law]}), but it holds: remove the waiver")
