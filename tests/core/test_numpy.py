"""NumPy's functions stay on the tape, scalars stay weak, dtypes do not drift, nothing warns."""

import numpy as np
import pytest

import tinygrad_cnn as tc


def x32():
    return tc.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)


@pytest.mark.parametrize(
    "f",
    [
        np.exp, np.tanh, np.sin, np.abs, np.negative, np.square,
        np.sum, np.mean, np.prod, np.max, np.ravel, np.transpose, np.squeeze,
        lambda x: np.sum(x, axis=1), lambda x: np.var(x, axis=0), lambda x: np.std(x),
        lambda x: np.add.reduce(x, axis=1),
        lambda x: np.clip(x, 1.5, 3.5), lambda x: np.concatenate([x, x]), lambda x: np.stack([x, x], axis=1),
        lambda x: np.reshape(x, (4, 1)), lambda x: np.broadcast_to(x, (3, 2, 2)), lambda x: np.flip(x, 0),
        lambda x: np.roll(x, 1, 0), lambda x: np.where(np.array([True, False]), x, 0.0),
        lambda x: np.float32(2) * x, lambda x: np.ones((2, 2), np.float32) @ x,
        lambda x: np.ones((2, 2), np.float32) - x,
        lambda x: np.add(x, 1), lambda x: np.maximum(x, 2), lambda x: np.matmul(x, x), lambda x: np.dot(x, x),
        lambda x: np.swapaxes(x, 0, 1), lambda x: np.cumsum(x, axis=1), lambda x: np.linalg.norm(x),
        lambda x: np.moveaxis(x, 0, 1), lambda x: np.matrix_transpose(x), lambda x: np.linalg.matmul(x, x),
        lambda x: np.sort(x, axis=0), lambda x: np.sort(x, axis=None), lambda x: np.take(x, [1, 0], axis=1),
        lambda x: np.take(x, [3, 0]), lambda x: np.vstack([x, x[0]]), lambda x: np.hstack([x, x]), np.round, np.rint,
        np.positive, lambda x: np.dot(x, 2), lambda x: np.dot(np.ones((2, 2), np.float32), x), np.around,
        lambda x: np.multiply.reduce(x), lambda x: np.add.reduce(x, axis=None, keepdims=True),
        lambda x: np.sum(x, axis=0, dtype=None, out=None), lambda x: np.reshape(x, (4,), order="C"),
        lambda x: np.hstack([x[0], x[1]]), lambda x: np.var(x, ddof=1), lambda x: np.std(x, axis=0, correction=1),
        lambda x: np.pad(x, 1, mode="edge"), lambda x: np.split(x, 2)[1], lambda x: np.split(x, [1], axis=1)[1],
        lambda x: np.expand_dims(x, 0), lambda x: np.tile(x, (2, 1)), lambda x: np.concatenate([x, x], axis=None),
    ],
)  # fmt: skip
def test_numpy_functions_give_tensors_of_the_same_values(f):
    x = x32()
    y = f(x)
    assert isinstance(y, tc.Tensor)
    assert y.requires_grad
    np.testing.assert_allclose(y.numpy(), f(x.numpy()), rtol=1e-6)
    assert y.dtype == np.float32


@pytest.mark.parametrize(
    "f",
    [
        lambda x: np.logical_and(x > 1, x), lambda x: np.logical_or(x > 1, x > 3), lambda x: np.logical_not(x > 1),
        lambda x: np.logical_xor(x > 1, x > 3), lambda x: np.argsort(x, axis=0), np.argmax, np.isfinite, np.zeros_like,
        np.ones_like, lambda x: np.full_like(x, 3), lambda x: np.greater(x, 2), lambda x: np.ones_like(x, dtype=int),
    ],
)  # fmt: skip
def test_numpy_functions_without_a_gradient_give_constants(f):
    x = x32()
    y = f(x)
    assert isinstance(y, tc.Tensor)
    np.testing.assert_array_equal(y.numpy(), f(x.numpy()))
    assert y.dtype == f(x.numpy()).dtype
    assert tc.is_grad_enabled()


def test_questions_about_values_and_memory_are_answered():
    x = x32()
    assert np.shares_memory(x, x.data)
    assert np.array_equal(x, x.data)
    assert np.allclose(x, x)
    assert np.result_type(x, np.float64) == np.float64
    assert (np.shape(x), np.ndim(x), np.size(x), np.size(x, 0), np.count_nonzero(x)) == ((2, 2), 2, 4, 2, 4)
    assert np.asarray(x, dtype=np.float64).dtype == np.float64
    assert np.array(x) is not x.data


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: np.arctan2(x, x), r"np\.arctan2 has no counterpart .*x\.numpy\(\).*tc\.op"),
        (lambda x: np.median(x), r"np\.median has no counterpart"),
        (lambda x: np.linalg.inv(x), r"np\.linalg\.inv has no counterpart"),
        (lambda x: np.sum(x, dtype=float), r"np\.sum with dtype= has no counterpart .*x\.astype\(dtype\)"),
        (lambda x: np.sum(x, out=x.data[0, 0]), r"np\.sum with out= .*out\[\.\.\.\] = the result"),
        (lambda x: np.sum(x, where=x.numpy() > 1), r"np\.sum with where= .*tc\.where"),
        (lambda x: np.mean(x, where=x.numpy() > 1), r"np\.mean with where= .*tc\.where"),
        (lambda x: np.max(x, initial=9.0), r"np\.max with initial="),
        (lambda x: np.exp(x, where=x.numpy() > 1), r"np\.exp with where= .*tc\.where"),
        (lambda x: np.add.reduce(x, where=x.numpy() > 1), r"np\.add\.reduce with where= .*tc\.where"),
        (lambda x: np.add.accumulate(x), r"np\.add\.accumulate .*x\.cumsum"),
        (lambda x: np.add.at(np.ones(2), [0], x[0, 0]), r"np\.add\.at .*x\[index\] = x\[index\] \+ y"),
        (lambda x: np.add.outer(x, x), r"np\.add\.outer .*expand_dims"),
        (lambda x: np.tensordot(x, x, 1), r"np\.tensordot .*tc\.einsum"),
        (lambda x: np.ravel(x, order="F"), r"np\.ravel with order="),
        (lambda x: np.exp(np.ones((2, 2)), out=x), r"np\.exp: out= can not be a Tensor; write out \+= x"),
        (lambda x: np.copyto(x, np.ones((2, 2))), r"np\.copyto: the target can not be a Tensor; write x\[\.\.\.\]"),
        (lambda x: np.where(x > 1), r"np\.nonzero\(x\.numpy\(\)\)"),
        (lambda x: np.dot(x, np.ones((2, 2, 2))), r"np\.dot: of 3 axes .*einsum"),
        (lambda x: np.round(x, 2), r"decimals="),
    ],
)
def test_what_has_no_counterpart_says_so_and_names_the_alternative(call, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call(x32())


def test_a_ufunc_that_writes_into_a_tensors_own_array_is_noticed():
    x = tc.tensor([1.0, 2.0], requires_grad=True)
    y = (x * x).sum()
    np.exp(tc.ones(2), out=x.data)
    with pytest.raises(tc.TapeError, match=r"np\.exp with out="):
        y.backward()


@pytest.mark.parametrize("scalar", [2, 2.5, np.float64(2.5), np.int64(2), np.float32(2.5), True])
def test_scalars_of_every_kind_are_weak(scalar):
    x = x32()
    for y in (x * scalar, scalar * x, x + scalar, scalar - x, x / scalar, x**2, x.maximum(scalar)):
        assert y.dtype == np.float32, y
    x.sum().backward()
    assert x.grad.dtype == np.float32


def test_zero_d_arrays_promote_as_in_numpy():
    assert (x32() * np.array(2.0)).dtype == np.float64


def test_float64_comes_out_only_if_float64_went_in():
    n = tc.tensor([1, 2, 3])
    x = tc.tensor([1.0, 2.0, 3.0])
    for y in (n * 2.5, n / n, n.mean(), tc.where(n > 1, 0.0, 0.0), x * [1, 2, 3], x * np.array([1, 0, 1]), tc.exp(2.0)):
        assert y.dtype == np.float32
    assert (x * np.ones(3)).dtype == np.float64


def test_gradients_have_their_inputs_dtype():
    a = tc.tensor([1.0, 2.0], requires_grad=True)
    b = tc.tensor(np.array([1.0, 2.0]), requires_grad=True)
    (a * b).sum().backward()
    assert a.grad.dtype == np.float32
    assert b.grad.dtype == np.float64


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_each_float_dtype_stays_itself(dtype):
    x = tc.tensor(np.array([0.5, -1.0, 2.0]), dtype=dtype, requires_grad=True)
    y = (x.relu() + x.sigmoid() * x.exp() - x.tanh()).softmax().log().mean()
    assert y.dtype == dtype
    y.backward()
    assert x.grad.dtype == dtype


def test_no_numpy_warnings_from_special_values_nor_changes_of_errstate():
    x = tc.tensor([0.0, -0.0, np.inf, -np.inf, np.nan, 1e30, 1e-40], requires_grad=True)
    before = np.geterr()
    with np.errstate(all="raise"):
        for f in (tc.exp, tc.log, tc.sqrt, tc.tanh, tc.sigmoid, tc.square, tc.abs, tc.erf, tc.relu):
            f(x).sum().backward()
        (1.0 / x).sum().backward()
        (x * 1e300).sum().backward()
    assert np.geterr() == before


def test_integers_and_wrong_dtypes_are_refused():
    with pytest.raises(TypeError, match="only floating Tensors have gradients, the dtype is int64"):
        tc.tensor([1, 2], requires_grad=True)
    with pytest.raises(TypeError, match="needs numbers or booleans"):
        tc.tensor(["a"])
    with pytest.raises(TypeError, match="add: input 'b' must be a Tensor, an array or a number"):
        tc.ops()["add"](x32(), "text")
    with pytest.raises(tc.ShapeError, match="rows of different lengths"):
        tc.tensor([[1.0], [1.0, 2.0]])


def test_truth_hash_iteration_and_pytorchs_spellings():
    x = x32()
    with pytest.raises(ValueError, match=r"truth value of a Tensor of shape \(2, 2\)"):
        bool(x)
    assert len({x, x32()}) == 2
    assert [row.tolist() for row in x] == [[1.0, 2.0], [3.0, 4.0]]
    with pytest.raises(TypeError, match="0-d"):
        iter(tc.tensor(1.0))
    for name, hint in {"view": "reshape", "unsqueeze": "expand_dims", "cuda": "CPU", "clamp": "clip"}.items():
        with pytest.raises(AttributeError, match=hint):
            getattr(x, name)
    with pytest.raises(TypeError, match="dim"):
        x.sum(dim=1)


def test_default_dtype():
    tc.set_default_dtype("float64")
    try:
        assert tc.tensor([1.0]).dtype == tc.zeros(1).dtype == np.float64
    finally:
        tc.set_default_dtype("float32")
    assert tc.tensor([1.0]).dtype == np.float32
    with pytest.raises(TypeError, match="floating dtype"):
        tc.set_default_dtype("int32")


def test_repr_is_worth_reading():
    assert repr(tc.tensor([1.0, 2.0], requires_grad=True)) == "tensor([1., 2.], requires_grad=True)"
    assert repr(tc.tensor([4.0], requires_grad=True).sqrt()) == "tensor([2.], grad_fn=sqrt)"
    assert "dtype=float64" in repr(tc.tensor(np.ones(2)))
    assert repr(tc.zeros(0, 3)) == "tensor(shape=(0, 3))"
    assert f"{tc.tensor(2.5):.2f}" == "2.50"


def test_python_floats_go_to_the_dtype_asked_for_without_a_detour():
    assert tc.tensor(0.1, dtype="float64").item() == 0.1
    assert tc.tensor([1e300], dtype="float64").tolist() == [1e300]
    assert tc.tensor(0.1).dtype == np.float32


@pytest.mark.filterwarnings("ignore:the matrix subclass")
def test_arrays_of_other_classes_are_arrays():
    """np.matrix means the matrix product by `*`, and a masked array has holes."""
    x = np.matrix([[1.0, 2.0], [3.0, 4.0]])
    for product in (tc.tensor(x) * tc.tensor(x), tc.tensor(np.asarray(x)) * x, x * tc.tensor(np.asarray(x))):
        np.testing.assert_array_equal(product.data, np.asarray(x) ** 2)
        assert type(product.data) is np.ndarray
    assert np.shares_memory(tc.tensor(x).data, x)
    holes = np.ma.masked_array([1.0, 2.0], [False, True])
    for call in (lambda: tc.tensor(holes), lambda: tc.ones(2) * holes):
        with pytest.raises(TypeError, match=r"masked array .*array\.filled\(value\)"):
            call()


def test_a_rule_that_returns_no_numbers_is_named():
    f = tc.op("numpy_text_rule", lambda x: x * 2, lambda g, x: "text")
    with pytest.raises(TypeError, match="numpy_text_rule: the vjp rule of input 'x' must return a Tensor, got"):
        f(tc.tensor([1.0], requires_grad=True)).backward()
