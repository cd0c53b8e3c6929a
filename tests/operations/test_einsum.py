"""einsum against NumPy's, and its gradients, which are einsums."""

import numpy as np
import pytest

import tinygrad_cnn as tc
from tinygrad_cnn import testing

EQUATIONS = {
    "ij,jk->ik": ((2, 3), (3, 4)),
    "ij,jk": ((2, 3), (3, 4)),  # no output: letters that occur once, in alphabetical order
    "ba,ca": ((2, 3), (4, 3)),
    "ij->ji": ((2, 3),),
    "ij->": ((2, 3),),
    "ii": ((3, 3),),
    "ii->i": ((3, 3),),
    "iij,j->i": ((3, 3, 2), (2,)),
    "...ii->...i": ((2, 3, 3),),
    "...ij,...jk->...ik": ((5, 2, 3), (3, 4)),
    "b...i,ij->b...j": ((2, 5, 3), (3, 4)),
    "...,...->...": ((2, 1), (3,)),
    "i,j->ij": ((2,), (3,)),
    "i,i,i->i": ((2,), (2,), (2,)),
    "ij,jk,kl->il": ((2, 3), (3, 4), (4, 2)),
    "ij,k->i": ((2, 3), (4,)),  # j and k are summed each on its own
    "ij,jk->ik ": ((2, 1), (3, 4)),  # length 1 stretches
    ",i->i": ((), (3,)),
    "ij,j->i": ((2, 0), (0,)),
    "nchw,oc->nohw": ((2, 3, 2, 2), (4, 3)),
}


def integers(equation):
    rng = np.random.default_rng(0)
    return [rng.integers(-3, 4, shape).astype(float) for shape in EQUATIONS[equation]]


@pytest.mark.parametrize("equation", EQUATIONS)
def test_values_and_gradients_to_the_second_order(equation):
    xs = integers(equation)
    np.testing.assert_array_equal(tc.einsum(equation, *xs).data, np.einsum(equation, *xs))
    testing.gradcheck(lambda *xs: tc.einsum(equation, *xs), xs)
    testing.gradgradcheck(lambda *xs: tc.einsum(equation, *xs), xs)


def test_the_same_tensor_twice():
    x = tc.tensor(np.array([[1.0, 2.0], [3.0, 4.0]]), requires_grad=True)
    tc.einsum("ij,ij->", x, x).backward()
    np.testing.assert_array_equal(x.grad.data, 2 * x.data)


def test_spellings():
    a, b = integers("ij,jk->ik")
    expected = a @ b
    np.testing.assert_array_equal(tc.einsum("ij,jk->ik", [a, b]).data, expected)
    y = np.einsum("ij,jk->ik", tc.tensor(a), b)
    assert isinstance(y, tc.Tensor)
    np.testing.assert_array_equal(y.data, expected)
    assert tc.einsum("ij,jk->ik", a.astype(np.float32), b.astype(np.float32)).dtype == np.float32
    np.testing.assert_array_equal(tc.einsum("i,i", np.arange(3), np.arange(3)).data, 5)
