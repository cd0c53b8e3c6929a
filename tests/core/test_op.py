"""Op records: name injection, definition errors, forms of rules, aux, fast, un-broadcasting."""

import functools
import inspect

import numpy as np
import pytest

import tinygrad_cnn as tc
import tinygrad_cnn.functional as F
from tinygrad_cnn import Tensor

FACTORS = np.array([2.0, 3.0])


def x64(*values):
    return tc.tensor(np.array(values, dtype=np.float64), requires_grad=True)


def test_the_contracts_example():
    swish = tc.op(
        "swish_contract",
        forward=lambda x: x / (1 + np.exp(-x)),
        vjp=lambda g, x: g * (tc.sigmoid(x) * (1 + x * (1 - tc.sigmoid(x)))),
    )
    x = x64(-1.0, 0.0, 2.0)
    swish(x).sum().backward()
    s = 1 / (1 + np.exp(-x.data))
    np.testing.assert_allclose(x.grad.data, s * (1 + x.data * (1 - s)))
    (dx,) = tc.grad(swish(x).sum(), x, create_graph=True)
    (d2,) = tc.grad(dx.sum(), x)
    numeric = s * (1 + x.data * (1 - s))  # at x; second derivative by differences of the first
    h = 1e-5
    up = 1 / (1 + np.exp(-(x.data + h)))
    numeric = (up * (1 + (x.data + h) * (1 - up)) - numeric) / h
    np.testing.assert_allclose(d2.data, numeric, atol=1e-4)


def test_options_by_default_and_by_keyword():
    scaled = tc.op(
        "opt_scaled",
        lambda x, beta=2.0, *, gamma=1.0: x * beta * gamma,
        lambda g, beta, gamma: g * beta * gamma,
    )
    x = x64(1.0)
    assert scaled(x).item() == 2.0
    assert scaled(x, 3.0).item() == 3.0
    assert scaled(x, beta=3.0, gamma=2.0).item() == 6.0
    scaled(x, gamma=5.0).backward()
    assert x.grad.item() == 10.0


def test_all_options_by_double_star():
    f = tc.op("opt_all", lambda x, *, a, b: x * a + b, lambda g, **options: g * options["a"])
    x = x64(1.0)
    f(x, a=3.0, b=1.0).backward()
    assert x.grad.item() == 3.0
    with pytest.raises(TypeError, match="missing option 'b'"):
        f(x, a=3.0)
    with pytest.raises(TypeError, match="no parameter 'c'"):
        f(x, a=3.0, b=1.0, c=2.0)


def test_optional_input():
    f = tc.op(
        "opt_bias",
        lambda x, w, bias=None: x * w if bias is None else x * w + bias,
        {"x": lambda g, w: g * w, "w": lambda g, x: g * x, "bias": lambda g: g},
    )
    x, w, b = x64(2.0), x64(3.0), x64(4.0)
    assert f(x, w).item() == 6.0
    f(x, w, bias=b).backward()
    assert (x.grad.item(), w.grad.item(), b.grad.item()) == (3.0, 2.0, 1.0)


def test_not_differentiable_input_gets_nothing():
    f = tc.op("opt_half", lambda a, b: a * b, (lambda g, b: g * b, None))
    a, b = x64(2.0), x64(3.0)
    f(a, b).backward()
    assert a.grad.item() == 3.0
    assert b.grad is None


def test_joint_rule_and_variadic_rule():
    joint = tc.op("opt_joint", lambda a, b: a * b, lambda g, a, b: (g * b, g * a))
    a, b = x64(2.0), x64(3.0)
    joint(a, b).backward()
    assert (a.grad.item(), b.grad.item()) == (3.0, 2.0)

    total = tc.op("opt_total", lambda *xs: sum(xs), lambda g, xs: (g for _ in xs))
    xs = [x64(1.0), x64(2.0), x64(3.0)]
    total(*xs).backward()
    assert [x.grad.item() for x in xs] == [1.0, 1.0, 1.0]


def test_aux_as_constant_and_as_function():
    masked = tc.op(
        "aux_mask", lambda x: (np.maximum(x, 0), x > 0), lambda g, mask: tc.where(mask, g, 0.0), aux={"mask": None}
    )
    x = x64(-1.0, 2.0)
    masked(x).sum().backward()
    assert x.grad.tolist() == [0.0, 1.0]

    # y = exp(x) saved as auxiliary: a constant would lose the second derivative.
    saved = tc.op("aux_exp", lambda x: ((e := np.exp(x)) * 1.0, e), lambda g, e: g * e, aux={"e": tc.exp})
    x = x64(0.5)
    (dx,) = tc.grad(saved(x), x, create_graph=True)
    (d2,) = tc.grad(dx, x)
    np.testing.assert_allclose(d2.item(), np.exp(0.5))


def test_fast_runs_when_nothing_is_recorded_and_vjp_when_it_is():
    ran = []
    f = tc.op(
        "fast_pair",
        lambda x: x * x,
        lambda g, x: (ran.append("vjp"), g * (2 * x))[1],
        fast=lambda g, x: (ran.append("fast"), g * (2 * x))[1],
    )
    x = x64(3.0)
    f(x).backward()
    (dx,) = tc.grad(f(x), x, create_graph=True)
    assert ran == ["fast", "vjp"]
    assert tc.grad(dx, x)[0].item() == 2.0


def test_plain_rules_run_on_arrays_others_on_tensors():
    kinds = []
    tensors = tc.op("rule_kind", lambda x: x * 1.0, lambda g, x: (kinds.append(type(x)), g)[1])
    tensors(x64(1.0)).backward()
    assert kinds == [Tensor]
    plain = tc.op("rule_plain", lambda x: x * x, lambda g, x: 2 * g * x)
    assert plain.rules[0].plain
    assert not tensors.rules[0].plain


def test_a_rule_may_not_write_into_its_upstream_gradient():
    def rule(g):
        g *= 2.0
        return g

    f = tc.op("rule_writes", lambda x: x * 2.0, rule)
    x = x64(1.0, 2.0)
    with pytest.raises(ValueError, match="read-only"):
        f(x).sum().backward()


@pytest.mark.parametrize(
    ("forward", "vjp", "message"),
    [
        (lambda g: g, lambda g: g, "'g' means the upstream gradient"),
        (lambda x, y: x * y, (lambda g: g, lambda g: g), "'y' means the output"),
        (lambda x: x, lambda g, z: g, "asks for 'z', which is unknown; it may ask for g, y, x, x_shape"),
        (lambda a, b: a, (lambda g: g,), r"1 rules for 2 inputs \['a', 'b'\]"),
        (lambda a, b: a, {"c": lambda g: g}, r"rules for \['c'\], but the inputs are \['a', 'b'\]"),
        (lambda beta=1.0: beta, lambda g: g, "forward has no input"),
        (lambda x, **kw: x, lambda g: g, r"not take `\*\*kw`"),
        (lambda *xs: xs[0], (lambda g: g,), "takes one joint vjp rule"),
    ],
)
def test_definition_errors(forward, vjp, message):
    with pytest.raises(ValueError, match=message):
        tc.op("never_defined", forward, vjp)
    assert "never_defined" not in tc.ops()


def test_fast_must_cover_the_inputs_that_vjp_covers():
    with pytest.raises(ValueError, match="fast must have rules for the same inputs as vjp"):
        tc.op(
            "never_defined",
            lambda a, b: a * b,
            {"a": lambda g, b: g * b, "b": lambda g, a: g * a},
            fast={"a": lambda g, b: g * b},
        )


def test_definition_type_errors():
    with pytest.raises(TypeError, match="must be a function, a tuple or a dict"):
        tc.op("never_defined", lambda x: x, 3)
    with pytest.raises(ValueError, match="Python identifier"):
        tc.op("not a name", lambda x: x, lambda g: g)


def test_defining_again_from_the_same_place_replaces_and_from_another_raises():
    def define():
        return tc.op("defined_twice", lambda x: x * 1.0, lambda g: g)

    first, second = define(), define()
    assert tc.ops()["defined_twice"] is second is not first
    with pytest.raises(ValueError, match=r"'defined_twice' is already defined, at .*test_op\.py"):
        tc.op("defined_twice", lambda x: x, lambda g: g)
    with pytest.raises(ValueError, match="'relu' is already defined"):
        tc.op("relu", lambda x: x, lambda g: g)


def test_wrong_shape_of_a_rule_names_op_input_and_shapes():
    f = tc.op("rule_shape", lambda x: x * 2.0, lambda g: g[:1])
    x = x64(1.0, 2.0)
    with pytest.raises(tc.ShapeError, match=r"rule_shape: the vjp rule of input 'x'.*\(1,\).*\(2,\)"):
        f(x).sum().backward()
    g = tc.op("rule_count", lambda a, b: a * b, lambda g, a, b: (g,))
    with pytest.raises(tc.ShapeError, match=r"rule_count.*must return 2 gradients"):
        g(x64(1.0), x64(2.0)).backward()


def test_a_larger_gradient_is_summed_only_where_the_op_broadcasts():
    x = tc.tensor(np.ones((1, 3)), requires_grad=True)
    wrong = tc.op("rule_large", lambda x: x[0], lambda g: tc.ones(5, 3, dtype="float64"))
    with pytest.raises(tc.ShapeError, match="rule_large"):
        wrong(x).sum().backward()
    (x + np.zeros((5, 3))).sum().backward()
    assert x.grad.shape == (1, 3)
    assert x.grad.tolist() == [[5.0, 5.0, 5.0]]


def test_a_users_exception_keeps_its_type_and_gains_a_note():
    def forward(x):
        raise KeyError("mine")

    f = tc.op("raises_key", forward, lambda g: g)
    with pytest.raises(KeyError, match="mine") as caught:
        f(x64(1.0))
    assert any("raises_key" in note and "(1,)" in note for note in caught.value.__notes__)


def test_a_forward_must_return_an_array():
    f = tc.op("returns_str", lambda x: "text", lambda g: g)
    with pytest.raises(TypeError, match="returns_str: forward must return one array"):
        f(x64(1.0))


def test_forward_returning_its_input_is_a_view_that_can_not_be_written():
    same = tc.op("returns_same", lambda x: x, lambda g: g)
    x = x64(1.0, 2.0)
    y = same(x)
    with pytest.raises(tc.TapeError, match="is a view made by 'returns_same'"):
        y += 1.0


def test_replaced_parts_take_effect_at_once_and_are_restored():
    x = x64(1.0)
    op = tc.ops()["exp"]
    with op.replaced(vjp=lambda g, y: 2 * g * y):
        tc.exp(x).backward()
        assert x.grad.item() == pytest.approx(2 * np.e)
    x.grad = None
    tc.exp(x).backward()
    assert x.grad.item() == pytest.approx(np.e)


def test_every_builtin_has_a_name_and_a_sentence():
    for name, op in tc.ops().items():
        assert op.name == name
        assert op.__doc__


def test_shapes_that_do_not_broadcast_give_the_same_error_with_and_without_gradients():
    a, b = np.ones((2, 3)), np.ones((4,))
    messages = set()
    for requires in (True, False):
        with pytest.raises(tc.ShapeError) as caught:
            Tensor(a, requires_grad=requires) * Tensor(b)
        messages.add(str(caught.value))
    assert len(messages) == 1
    assert "mul" in messages.pop()


def test_auxiliary_outputs_come_in_a_tuple_of_their_number():
    rows = tc.op("aux_rows", lambda x: x * 2, lambda g, m: g * m, aux={"m": None})
    with pytest.raises(TypeError, match=r"aux_rows: forward must return \(output, m\) as aux= says, not a ndarray"):
        rows(x64(1.0, 2.0))
    more = tc.op("aux_more", lambda x: (x, x, x), lambda g, m: g * m, aux={"m": None})
    with pytest.raises(TypeError, match="not a tuple of 3"):
        more(x64(1.0))


def test_a_rule_without_a_return_is_named():
    f = tc.op("rule_none", lambda x: x * 2, lambda g: None)
    with pytest.raises(TypeError, match="rule_none: the vjp rule of input 'x' returned None"):
        f(x64(1.0)).backward()


def test_missing_required_options_and_array_defaults():
    need = tc.op("opt_need", lambda x, *, k: x * k, lambda g, k: g * k)
    with pytest.raises(TypeError, match="opt_need: missing option 'k'"):
        need(x64(1.0))
    scaled = tc.op("opt_array", lambda x, n=FACTORS: x * n, lambda g, n: g * n)
    x = x64(1.0, 1.0)
    scaled(x).sum().backward()
    assert x.grad.tolist() == [2.0, 3.0]


def test_an_op_looks_like_a_function_to_help_and_editors():
    assert tc.relu.__name__ == "relu"
    assert str(inspect.signature(F.leaky_relu)) == "(x, negative_slope=0.01)"
    assert str(inspect.signature(tc.clip)) == "(x, min=None, max=None)"
    assert functools.wraps(F.gelu)(lambda x: x).__name__ == "gelu"
