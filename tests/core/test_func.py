"""Functions of functions agree with each other and with formulas, nest, and touch no `.grad`."""

import numpy as np
import pytest

import tinygrad_cnn as tc
import tinygrad_cnn.functional as F
from tinygrad_cnn import func

RNG = np.random.default_rng(0)
X = RNG.normal(size=(3, 4))
V = RNG.normal(size=(3, 4))
W = tc.tensor(RNG.normal(size=(4, 5)), requires_grad=True)


def f(x):
    return (x @ W).tanh() * 2.0


def loss(x):
    return (f(x) ** 2).sum()


def test_the_products_agree_with_the_jacobian():
    jacobian = func.jacobian(f)(tc.tensor(X)).numpy()
    assert jacobian.shape == (3, 5, 3, 4)
    y, push = func.jvp(f, (X,), (V,))
    np.testing.assert_allclose(push.numpy(), np.tensordot(jacobian, V, 2))
    u = RNG.normal(size=y.shape)
    z, pull = func.vjp(f, X)
    np.testing.assert_array_equal(y.numpy(), z.numpy())
    np.testing.assert_allclose(pull(u)[0].numpy(), np.tensordot(u, jacobian, 2))
    np.testing.assert_allclose(pull(u)[0].numpy(), np.tensordot(u, jacobian, 2))  # again, from the same graph


def test_the_hessian_is_symmetric_and_agrees_with_its_product():
    hessian = func.hessian(loss)(tc.tensor(X)).numpy()
    np.testing.assert_allclose(hessian, hessian.transpose(2, 3, 0, 1), atol=1e-12)
    value, product = func.hvp(loss, (X,), (V,))
    np.testing.assert_allclose(product.numpy(), np.tensordot(hessian, V, 2))
    assert value.item() == pytest.approx(loss(tc.tensor(X)).item())


def test_several_arguments():
    def g(a, b):
        return (a * a * b).sum()

    a, b = tc.tensor(X), tc.tensor(V)
    da, db = func.grad(g, argnums=(0, 1))(a, b)
    np.testing.assert_allclose(da.numpy(), 2 * X * V)
    np.testing.assert_allclose(db.numpy(), X * X)
    _, (ha, hb) = func.hvp(g, (a, b), (np.ones_like(X), np.zeros_like(X)))
    np.testing.assert_allclose(ha.numpy(), 2 * V)
    np.testing.assert_allclose(hb.numpy(), 2 * X)


def test_nesting_and_closures():
    # d/dx [x * d/dy (x * y**2) at y = 3] = d/dx [6 x**2] = 12 x
    outer = func.grad(lambda x: x * func.grad(lambda y: x * y**2)(tc.tensor(3.0)))
    assert outer(tc.tensor(2.0)).item() == 24.0
    third = func.grad(func.grad(func.grad(lambda x: x**5)))
    assert third(tc.tensor(2.0)).item() == 240.0


def test_what_a_closure_reaches_can_be_differentiated_from_outside():
    w = tc.tensor(3.0, requires_grad=True)
    slope = func.grad(lambda x: w * x**2)(tc.tensor(2.0))
    slope.backward()
    assert w.grad.item() == 4.0
    with tc.no_grad():
        assert not func.grad(lambda x: w * x**2)(tc.tensor(2.0)).requires_grad


def test_no_grad_is_left_behind_on_leaves():
    x = tc.tensor(X, requires_grad=True)
    func.hvp(loss, (x,), (V,))
    func.jacobian(f)(x)
    assert x.grad is None
    assert W.grad is None


def test_what_does_not_depend_gives_zeros():
    assert func.grad(lambda x: tc.tensor(1.0))(tc.tensor([2.0])).tolist() == [0.0]
    assert func.jvp(lambda x: tc.ones(2), (tc.ones(3),), (tc.ones(3),))[1].tolist() == [0.0, 0.0]
    assert func.hvp(lambda x: x.sum(), (tc.ones(3),), (tc.ones(3),))[1].tolist() == [0.0] * 3


def test_second_order_of_a_small_convolutional_net_against_differences():
    x = tc.tensor(RNG.normal(size=(2, 1, 6, 6)))
    w1, w2 = RNG.normal(size=(2, 1, 3, 3)), RNG.normal(size=(3, 2 * 2 * 2))
    v1 = RNG.normal(size=w1.shape)

    def net(w):
        h = F.avg_pool2d(F.conv2d(x, w).tanh(), 2)
        return F.cross_entropy(F.linear(h.flatten(1), tc.tensor(w2)), np.array([0, 2]))

    _, hv = func.hvp(net, (w1,), (v1,))
    h = 1e-5
    numeric = (func.grad(net)(tc.tensor(w1 + h * v1)).numpy() - func.grad(net)(tc.tensor(w1 - h * v1)).numpy()) / (
        2 * h
    )
    np.testing.assert_allclose(hv.numpy(), numeric, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: func.grad(lambda x: x)(tc.ones(2)), tc.ShapeError, r"must return one number.*\(2,\)"),
        (lambda: func.grad(lambda x: 1.0)(tc.ones(2)), TypeError, "must return a Tensor, it returned float"),
        (lambda: func.grad(lambda x: x, argnums=1)(tc.ones(2)), ValueError, "there is no argument 1"),
        (lambda: func.jvp(lambda x: x, (tc.ones(2),), (tc.ones(3),)), tc.ShapeError, r"vs\[0\] has shape \(3,\)"),
        (lambda: func.jvp(lambda x: x, tc.ones(2), tc.ones(2)), TypeError, "xs must be a tuple"),
        (lambda: func.hvp(lambda x: x.sum(), (tc.ones(2),), ()), ValueError, "0 directions for 1 arguments"),
    ],
)
def test_misuse(call, error, message):
    with pytest.raises(error, match=message):
        call()
