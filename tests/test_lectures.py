"""What the lecture notes teach, row by row (A: convolution, B: its gradient, C: pooling, D: networks).

Whole numbers are compared exactly; the vectors are the notes' own.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import tinygrad_cnn as tc
import tinygrad_cnn.functional as F
from tinygrad_cnn import data, models, nn, optim

IMAGE = [
    [1, 0, 0, 0, 0, 1],
    [0, 1, 0, 0, 1, 0],
    [0, 0, 1, 1, 0, 0],
    [1, 0, 0, 0, 1, 0],
    [0, 1, 0, 0, 1, 0],
    [0, 0, 1, 0, 1, 0],
]
FILTER_1 = [[1, -1, -1], [-1, 1, -1], [-1, -1, 1]]
FILTER_2 = [[-1, 1, -1], [-1, 1, -1], [-1, 1, -1]]
MAP_1 = [[3, -1, -3, -1], [-3, 1, 0, -3], [-3, -3, 0, 1], [3, -2, -2, -1]]
MAP_2 = [[-1, -1, -1, -1], [-1, -1, -2, 1], [-1, -1, -2, 1], [-1, 0, -4, 3]]
VERTICAL_EDGE = [[1, 0, -1], [1, 0, -1], [1, 0, -1]]


def batch(*rows: list) -> np.ndarray:
    """One image, or one filter, of one channel as (1, 1, H, W) float64."""
    return np.array(rows, np.float64)[None]


def draw(*shape: int, seed: int = 0) -> np.ndarray:
    """Whole numbers from -9 to 9, stored as float64: sums of their products are exact."""
    return np.random.default_rng(seed).integers(-9, 10, shape).astype(np.float64)


def plane(result: tc.Tensor) -> list:
    assert result.shape[:2] == (1, 1)
    return result.data[0, 0].tolist()


# --- numbers ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("image", "kernel", "stride", "expected"),
    [
        (IMAGE, FILTER_1, 1, MAP_1),
        (IMAGE, FILTER_1, 2, [[3, -3], [-3, 0]]),
        (IMAGE, FILTER_2, 1, MAP_2),
        (
            [[3, 0, 1, 2, 7, 4], [1, 5, 8, 9, 3, 1], [2, 7, 2, 5, 1, 3],
             [0, 1, 3, 1, 7, 8], [4, 2, 1, 6, 2, 8], [2, 4, 5, 2, 3, 9]],
            VERTICAL_EDGE,
            1,
            [[-5, -4, 0, 8], [-10, -2, 2, 3], [0, -2, -4, -7], [-3, -2, -3, -16]],
        ),
    ],
)  # fmt: skip
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_convolution_of_whole_numbers(image: list, kernel: list, stride: int, expected: list, dtype: type) -> None:
    result = F.conv2d(batch(image).astype(dtype), batch(kernel).astype(dtype), stride=stride)
    assert plane(result) == expected
    assert result.dtype == dtype


def test_two_filters_stack_into_a_new_image() -> None:
    filters = np.concatenate([batch(FILTER_1), batch(FILTER_2)])
    maps = F.conv2d(batch(IMAGE), filters)
    assert maps.shape == (1, 2, 4, 4)
    assert maps.data[0].tolist() == [MAP_1, MAP_2]
    pooled = F.max_pool2d(maps, 2)
    assert pooled.data[0].tolist() == [[[3, 0], [3, 1]], [[-1, 1], [0, 3]]]


def test_pooling_of_whole_numbers() -> None:
    x = batch([[1, 3, 2, 1], [2, 9, 1, 1], [1, 3, 2, 3], [5, 6, 1, 2]])
    assert plane(F.max_pool2d(x, 2)) == [[9, 2], [6, 3]]
    assert plane(F.avg_pool2d(x, 2)) == [[3.75, 1.25], [3.75, 2]]


def test_relu_of_whole_numbers() -> None:
    x = np.array([[0, -1, 2], [3, 4, 5], [-6, 10, 12]], np.float64)
    assert F.relu(x + 1).tolist() == [[1, 0, 3], [4, 5, 6], [0, 11, 13]]


@pytest.mark.parametrize(("n", "k", "p", "s", "out"), [(6, 3, 0, 1, 4), (6, 3, 1, 1, 6), (6, 3, 1, 2, 3)])
def test_sizes(n: int, k: int, p: int, s: int, out: int) -> None:
    assert F.conv2d(np.ones((1, 1, n, n)), np.ones((1, 1, k, k)), stride=s, padding=p).shape == (1, 1, out, out)


# --- A. convolution ---------------------------------------------------------------------------------------


def test_a1_correlation_and_true_convolution_differ() -> None:
    x, w = draw(2, 3, 7, 6), draw(4, 3, 3, 2, seed=1)
    flipped = w[:, :, ::-1, ::-1]
    assert (F.convolve2d(x, w).data == F.conv2d(x, flipped).data).all()
    assert (F.convolve2d(x, w).data != F.conv2d(x, w).data).any()
    signal, kernel = draw(9), draw(4, seed=2)
    full = F.conv1d(signal[None, None], kernel[None, None, ::-1], padding="full")
    assert (full.data[0, 0] == np.convolve(signal, kernel)).all()
    correlated = F.conv1d(signal[None, None], kernel[None, None])
    assert (correlated.data[0, 0] == np.correlate(signal, kernel, "valid")).all()


def test_a1_continuous_convolution_is_the_limit_of_a_sum() -> None:
    """The unit box with exp(-t) is 1 - exp(-t) up to t = 1; halving the step of the Riemann sum halves the error."""
    errors = []
    for steps in (16, 32, 64):
        dt = 1 / steps
        decay = np.exp(-dt * np.arange(steps))
        riemann_sum = dt * F.conv1d(np.ones((1, 1, steps)), decay[None, None, ::-1], padding="full").data[0, 0, :steps]
        errors.append(abs(riemann_sum - (1 - np.exp(-dt * (np.arange(steps) + 1)))).max())
    assert errors[0] < 1 / 16
    np.testing.assert_allclose(np.divide(errors[:-1], errors[1:]), 2, rtol=0.05)


@pytest.mark.parametrize("n", [5, 6, 7, 11])
@pytest.mark.parametrize("k", [1, 2, 3, 5])
@pytest.mark.parametrize("p", [0, 1, 2])
@pytest.mark.parametrize("s", [1, 2, 3])
@pytest.mark.parametrize("d", [1, 2])
def test_a2_output_size(n: int, k: int, p: int, s: int, d: int) -> None:
    reach = d * (k - 1) + 1
    if reach > n + 2 * p:
        with pytest.raises(ValueError, match="conv2d"):
            F.conv2d(np.ones((1, 1, n, n)), np.ones((1, 1, k, k)), stride=s, padding=p, dilation=d)
        return
    out = F.conv2d(np.ones((1, 1, n, n)), np.ones((1, 1, k, k)), stride=s, padding=p, dilation=d)
    assert out.shape[2:] == ((n + 2 * p - reach) // s + 1,) * 2


def test_a2_pixels_that_a_stride_never_reaches_get_no_gradient() -> None:
    x = tc.tensor(draw(1, 1, 6, 6), requires_grad=True)
    out = F.conv2d(x, np.ones((1, 1, 3, 3)), stride=2)
    assert out.shape == (1, 1, 2, 2)
    out.sum().backward()
    assert (x.grad.data[:, :, 5] == 0).all()
    assert (x.grad.data[:, :, :, 5] == 0).all()
    assert (x.grad.data[:, :, :5, :5] > 0).all()


def test_a3_valid_same_and_explicit_padding() -> None:
    x, w = draw(1, 1, 6, 6), draw(1, 1, 3, 3, seed=1)
    conv = lambda padding: F.conv2d(x, w, padding=padding).data  # noqa: E731 - one call in five spellings
    assert conv("valid").shape[2:] == conv(0).shape[2:] == (4, 4)
    assert conv("same").shape[2:] == (6, 6)
    assert (conv("same") == conv(1)).all()
    assert (conv((1, 1)) == conv(1)).all()
    assert (conv(((1, 1), (1, 1))) == conv(1)).all()
    assert conv((2, 0)).shape[2:] == (8, 4)
    asymmetric = conv(((1, 0), (0, 2)))
    padded = np.pad(x, ((0, 0), (0, 0), (1, 0), (0, 2)))
    assert (asymmetric == F.conv2d(padded, w).data).all()
    assert F.pad(x, ((1, 1), (1, 1))).shape[2:] == (8, 8)


@pytest.mark.parametrize("k", [1, 3, 5])
def test_a3_same_pads_by_half_an_odd_kernel(k: int) -> None:
    x, w = draw(1, 2, 6, 5), draw(3, 2, k, k, seed=1)
    assert (F.conv2d(x, w, padding="same").data == F.conv2d(x, w, padding=(k - 1) // 2).data).all()


@pytest.mark.parametrize(
    ("mode", "numpy_mode"), [("zeros", "constant"), ("replicate", "edge"), ("reflect", "reflect"), ("circular", "wrap")]
)
def test_a4_padding_modes(mode: str, numpy_mode: str) -> None:
    x, w = draw(1, 1, 4, 5), draw(1, 1, 3, 3, seed=1)
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)), mode=numpy_mode)
    assert (F.conv2d(x, w, padding=1, padding_mode=mode).data == F.conv2d(padded, w).data).all()
    spread = F.pad(x, ((1, 1), (1, 1)), mode="constant" if mode == "zeros" else mode)
    assert (spread.data == padded).all()
    if mode == "replicate":
        assert spread.data[0, 0, 0, 0] == x[0, 0, 0, 0]
        assert spread.data[0, 0, -1, -1] == x[0, 0, -1, -1]


def test_a5_stride_per_axis() -> None:
    x, w = draw(1, 1, 9, 9), draw(1, 1, 3, 3, seed=1)
    every = F.conv2d(x, w).data
    assert (F.conv2d(x, w, stride=(2, 3)).data == every[:, :, ::2, ::3]).all()


def test_a6_conv1d_keeps_the_same_contract() -> None:
    x, w, b = draw(2, 4, 11), draw(6, 2, 3, seed=1), draw(6, seed=2)
    options = {"stride": 2, "padding": 1, "dilation": 2, "groups": 2}
    one = F.conv1d(x, w, b, **options).data
    two = F.conv2d(x[:, :, None], w[:, :, None], b, stride=(1, 2), padding=(0, 1), dilation=(1, 2), groups=2).data
    assert (one == two[:, :, 0]).all()


def test_a7_a_filter_spans_the_whole_depth() -> None:
    x, w = draw(2, 3, 32, 32), draw(6, 3, 5, 5, seed=1)
    maps = F.conv2d(x, w).data
    assert maps.shape == (2, 6, 28, 28)
    assert maps[1, 4, 20, 7] == (x[1, :, 20:25, 7:12] * w[4]).sum()
    assert nn.Conv2d(3, 6, 5)(tc.tensor(np.float32(x))).shape == (2, 6, 28, 28)


def count(module: nn.Module) -> int:
    return sum(p.size for p in module.parameters())


def test_a8_parameter_counts() -> None:
    convolution = nn.Conv2d(3, 10, 3)
    assert count(convolution) == 280
    assert count(nn.Linear(64 * 64 * 3, 10, bias=False)) == 64 * 64 * 3 * 10 == 122_880
    assert count(nn.Linear(1000 * 1000 * 3, 1, bias=False)) == 3_000_000
    network = nn.Sequential(convolution, nn.Flatten(), nn.Linear(10 * 62 * 62, 10))
    table = tc.summary(network, (3, 64, 64))
    rows = {row.layer: row for row in table}
    assert rows["0"].parameters == 280
    assert rows["2"].parameters == 10 * 62 * 62 * 10 + 10
    assert "280" in str(table)
    assert "384,410" in str(table)


def test_a9_cost_of_a_convolution() -> None:
    rows = {row.layer: row for row in tc.summary(nn.Sequential(nn.Conv2d(3, 10, 3, padding=1)), (3, 32, 24))}
    assert rows["0"].macs == 32 * 24 * 3 * 3 * 3 * 10


EDGE = [[-1, -1, -1], [-1, 8, -1], [-1, -1, -1]]
SHARPEN = [[0, -1, 0], [-1, 5, -1], [0, -1, 0]]
HORIZONTAL_EDGE = [[1, 1, 1], [0, 0, 0], [-1, -1, -1]]
SOBEL = [[1, 0, -1], [2, 0, -2], [1, 0, -1]]
SCHARR = [[3, 0, -3], [10, 0, -10], [3, 0, -3]]
DIAGONAL_45 = [[0, 1, 1], [-1, 0, 1], [-1, -1, 0]]


@pytest.mark.parametrize("kernel", [EDGE, VERTICAL_EDGE, HORIZONTAL_EDGE, SOBEL, SCHARR, DIAGONAL_45])
def test_a10_edge_kernels_ignore_a_flat_image_and_answer_to_an_edge(kernel: list) -> None:
    flat = np.full((1, 1, 6, 6), 7.0)
    assert (F.conv2d(flat, batch(kernel)).data == 0).all()
    across, down = np.meshgrid(np.arange(6), np.arange(6))
    steps = [across < 3, down < 3, across + down < 6]
    answers = [abs(F.conv2d(batch(step.astype(float)), batch(kernel)).data).max() for step in steps]
    assert max(answers) > 0
    if kernel in (VERTICAL_EDGE, SOBEL, SCHARR):
        assert answers[1] == 0 < answers[0]
    if kernel == HORIZONTAL_EDGE:
        assert answers[0] == 0 < answers[1]


def test_a10_sharpening_and_blurring_keep_a_flat_image() -> None:
    flat = np.full((1, 1, 6, 6), 8.0)
    box = np.full((1, 1, 2, 2), 0.25)
    gaussian = np.outer([1, 2, 1], [1, 2, 1])[None, None] / 16
    for kernel in (batch(SHARPEN), box, gaussian):
        assert (F.conv2d(flat, kernel).data == 8).all()
    point = np.zeros((1, 1, 5, 5))
    point[0, 0, 2, 2] = 16
    assert plane(F.conv2d(point, gaussian)) == [[1, 2, 1], [2, 4, 2], [1, 2, 1]]
    assert plane(F.conv2d(point, batch(SHARPEN))) == [[0, -16, 0], [-16, 80, -16], [0, -16, 0]]


def test_a11_gradient_descent_recovers_the_vertical_edge_kernel() -> None:
    images = np.random.default_rng(0).random((8, 1, 12, 12)).astype(np.float32)
    edges = F.conv2d(images, np.float32(batch(VERTICAL_EDGE)))
    kernel = tc.zeros(1, 1, 3, 3).requires_grad_()
    optimizer = optim.SGD([kernel], lr=0.4, momentum=0.9)
    for _ in range(400):
        optimizer.zero_grad()
        F.mse_loss(F.conv2d(images, kernel), edges).backward()
        optimizer.step()
    assert abs(kernel.data - batch(VERTICAL_EDGE)).max() < 1e-3


@pytest.mark.parametrize("k", [1, 2, 3, 4, 5, 9])
def test_a12_filters_of_every_size(k: int) -> None:
    x, w = draw(1, 2, 11, 12), draw(3, 2, k, k, seed=1)
    out = F.conv2d(x, w).data
    assert out.shape == (1, 3, 12 - k, 13 - k)
    assert out[0, 2, 1, 3] == (x[0, :, 1 : 1 + k, 3 : 3 + k] * w[2]).sum()
    central = np.zeros((1, 1, k, k))
    central[0, 0, (k - 1) // 2, (k - 1) // 2] = 1
    if k % 2:  # an odd kernel has a central pixel: 'same' then moves nothing
        assert (F.conv2d(x[:, :1], central, padding="same").data == x[:, :1]).all()


def test_a13_edge_pixels_lie_in_fewer_windows() -> None:
    x = tc.zeros(1, 1, 6, 6, dtype=np.float64).requires_grad_()
    F.conv2d(x, np.ones((1, 1, 3, 3))).sum().backward()
    reach = [1, 2, 3, 3, 2, 1]
    assert (x.grad.data[0, 0] == np.outer(reach, reach)).all()
    assert (x.grad.data[0, 0, 0, 0], x.grad.data[0, 0, 2, 2]) == (1, 9)
    shrinking = x
    for size in (4, 2):
        shrinking = F.conv2d(shrinking, np.ones((1, 1, 3, 3)))
        assert shrinking.shape[2:] == (size, size)


def test_a14_convolution_is_a_sparse_matrix_with_shared_weights() -> None:
    """Column j is the map of the j-th unit image; the weights are numbered to see them shared."""
    units = np.eye(36).reshape(36, 1, 6, 6)
    matrix = F.conv2d(units, batch(FILTER_1)).data.reshape(36, 16).T
    numbered = F.conv2d(units, np.arange(1.0, 10).reshape(1, 1, 3, 3)).data.reshape(36, 16).T
    assert matrix.shape == (16, 36)
    assert matrix.size == 576
    assert ((matrix != 0).sum(1) == 9).all()
    assert set(np.unique(numbered)) == set(range(10))
    assert (np.sort(numbered, axis=1)[:, -9:] == np.arange(1, 10)).all()
    assert (matrix @ np.ravel(IMAGE)).reshape(4, 4).tolist() == MAP_1


@pytest.mark.parametrize(("f", "p", "s", "c", "c_next"), [(3, 1, 1, 3, 8), (5, 2, 2, 4, 2), (1, 0, 1, 6, 3)])
def test_a15_the_layer(f: int, p: int, s: int, c: int, c_next: int) -> None:
    layer = nn.Conv2d(c, c_next, f, stride=s, padding=p)
    assert layer.weight.size == f * f * c * c_next
    assert layer.bias.size == c_next
    a = np.float32(draw(2, c, 9, 9))
    z = F.conv2d(a, layer.weight.data, stride=s, padding=p).data + layer.bias.data[:, None, None]
    activation = F.relu(layer(tc.tensor(a))).data
    np.testing.assert_allclose(activation, np.maximum(z, 0), rtol=1e-5, atol=1e-5)
    n = (9 + 2 * p - f) // s + 1
    assert activation.shape == (2, c_next, n, n)


# --- B. the gradient of a convolution ---------------------------------------------------------------------


def rot180(kernel: np.ndarray) -> np.ndarray:
    return kernel[..., ::-1, ::-1]


def test_b_rotating_a_kernel_by_180_degrees() -> None:
    assert rot180(np.array([["K11", "K12"], ["K21", "K22"]])).tolist() == [["K22", "K21"], ["K12", "K11"]]


def backpropagate(x: np.ndarray, k: np.ndarray, b: np.ndarray, dz: np.ndarray, **options: int) -> list[np.ndarray]:
    tensors = [tc.tensor(a, requires_grad=True) for a in (x, k, b)]
    F.conv2d(*tensors, **options).backward(dz)
    return [t.grad.data for t in tensors]


@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_b_the_three_formulas_on_one_channel(k: int) -> None:
    x, kernel, b = draw(1, 1, 7, 6), draw(1, 1, k, k, seed=1), draw(1, seed=2)
    dz = draw(1, 1, 8 - k, 7 - k, seed=3)
    dx, dk, db = backpropagate(x, kernel, b, dz)
    assert (dk == F.conv2d(x, dz).data).all()
    assert db == dz.sum()
    padded = np.pad(dz, ((0, 0), (0, 0), (k - 1, k - 1), (k - 1, k - 1)))
    assert (dx == F.conv2d(padded, rot180(kernel)).data).all()
    assert (dx == F.conv2d(dz, rot180(kernel), padding="full").data).all()
    assert (dx == F.convolve2d(dz, kernel, padding="full").data).all()


def test_b_each_weight_sums_upstream_times_pixel_over_its_windows() -> None:
    x, kernel, dz = draw(1, 1, 4, 4), draw(1, 1, 2, 2, seed=1), draw(1, 1, 3, 3, seed=2)
    _, dk, _ = backpropagate(x, kernel, np.zeros(1), dz)
    for m in range(2):
        for n in range(2):
            assert dk[0, 0, m, n] == sum(dz[0, 0, i, j] * x[0, 0, i + m, j + n] for i in range(3) for j in range(3))


def test_b_the_three_formulas_on_volumes_and_batches() -> None:
    x, kernel, b = draw(3, 4, 7, 8), draw(5, 4, 3, 3, seed=1), draw(5, seed=2)
    dz = draw(3, 5, 5, 6, seed=3)
    dx, dk, db = backpropagate(x, kernel, b, dz)
    assert (dk == F.conv2d(x.swapaxes(0, 1), dz.swapaxes(0, 1)).data.swapaxes(0, 1)).all()
    assert (db == dz.sum((0, 2, 3))).all()
    assert (dx == F.conv2d(dz, rot180(kernel).swapaxes(0, 1), padding="full").data).all()


@pytest.mark.parametrize(("n", "s"), [(7, 2), (8, 2), (9, 3), (11, 3)])
def test_b_with_a_stride_the_upstream_gradient_is_spread_by_zeros(n: int, s: int) -> None:
    """The remainder that the last window does not reach keeps gradient 0."""
    x, kernel = draw(1, 1, n, n), draw(1, 1, 3, 3, seed=1)
    m = (n - 3) // s + 1
    dz = draw(1, 1, m, m, seed=2)
    dx, dk, _ = backpropagate(x, kernel, np.zeros(1), dz, stride=s)
    spread = np.zeros((1, 1, s * (m - 1) + 1, s * (m - 1) + 1))
    spread[:, :, ::s, ::s] = dz
    expected = np.zeros_like(x)
    reached = s * (m - 1) + 3
    expected[:, :, :reached, :reached] = F.conv2d(spread, rot180(kernel), padding="full").data
    assert (dx == expected).all()
    assert (dk == F.conv2d(x[:, :, :reached, :reached], spread).data).all()


# --- C. pooling -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("k", "s", "p"), [(2, 2, 0), (3, 1, 0), (3, 2, 1), (2, 3, 1)])
def test_c1_max_pooling_of_any_geometry(k: int, s: int, p: int) -> None:
    x = draw(2, 3, 9, 8)
    out = F.max_pool2d(x, k, stride=s, padding=p).data
    padded = np.pad(x, ((0, 0), (0, 0), (p, p), (p, p)), constant_values=-np.inf)
    for i in range(out.shape[2]):
        for j in range(out.shape[3]):
            window = padded[:, :, i * s : i * s + k, j * s : j * s + k]
            assert (out[:, :, i, j] == window.max((2, 3))).all()
    assert out.shape[2:] == ((9 + 2 * p - k) // s + 1, (8 + 2 * p - k) // s + 1)
    assert count(nn.MaxPool2d(k, s, p)) == 0


def test_c2_the_winner_takes_the_gradient() -> None:
    x = tc.tensor(batch([[1, 3, 2, 2], [2, 9, 1, 2], [0, 0, 7, 3], [0, 0, 1, 7]]), requires_grad=True)
    F.max_pool2d(x, 2).backward(batch([[10, 20], [30, 40]]))
    assert x.grad.data[0, 0].tolist() == [[0, 0, 20, 0], [0, 10, 0, 0], [30, 0, 40, 0], [0, 0, 0, 0]]


def test_c3_average_pooling_shares_the_gradient() -> None:
    x = tc.tensor(draw(1, 1, 4, 4), requires_grad=True)
    F.avg_pool2d(x, 2).backward(batch([[4, 8], [12, 16]]))
    assert x.grad.data[0, 0].tolist() == [[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4], [3, 3, 4, 4]]


@pytest.mark.parametrize("size", [(1, 1), (4, 4), (5, 7)])
def test_c4_global_pooling(size: tuple[int, int]) -> None:
    x = draw(2, 3, *size)
    np.testing.assert_allclose(F.global_avg_pool(x).data.ravel(), x.mean((2, 3)).ravel(), rtol=1e-12)
    assert (F.global_max_pool(x).data.ravel() == x.max((2, 3)).ravel()).all()
    assert nn.GlobalAvgPool2d()(tc.tensor(x)).size == nn.GlobalMaxPool2d()(tc.tensor(x)).size == 6


@pytest.mark.parametrize("k", [2, 3])
def test_c5_the_default_stride_is_the_kernel_size(k: int) -> None:
    x = draw(1, 1, 7, 8)
    assert (F.max_pool2d(x, k).data == F.max_pool2d(x, k, stride=k).data).all()
    assert (F.avg_pool2d(x, k).data == F.avg_pool2d(x, k, stride=k).data).all()
    assert F.max_pool2d(x, k).shape[2:] == (7 // k, 8 // k)


def test_c6_a_peak_moved_inside_its_cell_leaves_the_pooled_map() -> None:
    def pooled(i: int, j: int) -> list:
        x = np.zeros((1, 1, 6, 6))
        x[0, 0, i, j] = 5
        return plane(F.max_pool2d(x, 2))

    assert pooled(2, 2) == pooled(2, 3) == pooled(3, 2) == pooled(3, 3)
    assert pooled(2, 2) != pooled(2, 4)


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_c6_a_circular_convolution_commutes_with_rolls(stride: int) -> None:
    x, w = draw(1, 2, 6, 12), draw(3, 2, 3, 3, seed=1)
    conv = lambda a: F.conv2d(a, w, stride=stride, padding=1, padding_mode="circular").data  # noqa: E731 - one call
    for down, right in [(1, 0), (2, 5), (-1, 3)]:
        moved = np.roll(x, (down * stride, right * stride), (2, 3))
        assert (conv(moved) == np.roll(conv(x), (down, right), (2, 3))).all()


def test_c6_zero_padding_commutes_away_from_the_border() -> None:
    x, w = draw(1, 1, 8, 8), draw(1, 1, 3, 3, seed=1)
    conv = lambda a: F.conv2d(a, w, padding=1).data[0, 0]  # noqa: E731 - one call
    moved = conv(np.roll(x, 1, axis=3))
    assert (moved[:, 2:-1] == conv(x)[:, 1:-2]).all()
    assert (moved[:, 0] != np.roll(conv(x), 1, axis=1)[:, 0]).any()


def test_c6_a_network_with_a_dense_layer_is_not_invariant() -> None:
    tc.manual_seed(0)
    net = models.lenet5()
    x = data.digits("test", size=28).tensors[0][:4]
    moved = np.roll(x, 3, axis=3)
    assert abs(net(tc.tensor(moved)).data - net(tc.tensor(x)).data).max() > 1e-3


def test_c7_subsampling_makes_the_next_layer_cheaper() -> None:
    def macs(*layers: nn.Module) -> int:
        return list(tc.summary(nn.Sequential(*layers, nn.Conv2d(8, 16, 3, padding=1)), (8, 32, 32)))[-1].macs

    assert macs() == 4 * macs(nn.MaxPool2d(2)) == 16 * macs(nn.MaxPool2d(4))


# --- D. layers, architecture and training -----------------------------------------------------------------


def test_d1_a_network_from_ops_and_from_layers() -> None:
    layers = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 10))
    x = tc.tensor(np.float32(draw(5, 1, 8, 8)))
    w, b, v, c = (p.data for p in layers.parameters())
    by_ops = F.linear(F.max_pool2d(F.relu(F.conv2d(x, w, b)), 2).flatten(1), v, c)
    assert (by_ops.data == layers(x).data).all()
    p = F.softmax(by_ops).data
    np.testing.assert_allclose(p.sum(1), 1, rtol=1e-6)
    assert (p.argmax(1) == by_ops.data.argmax(1)).all()


def test_d2_the_rules_of_thumb_are_the_builders_default() -> None:
    model = models.cnn("32 32 M 64 64 M 256", in_channels=3, image_size=32, num_classes=10)
    convolutions = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    pools = [m for m in model.modules() if isinstance(m, nn.MaxPool2d)]
    assert [m.weight.shape for m in convolutions] == [(32, 3, 3, 3), (32, 32, 3, 3), (64, 32, 3, 3), (64, 64, 3, 3)]
    x = tc.zeros(1, 3, 32, 32)
    assert F.max_pool2d(x, 2).shape == pools[0](x).shape
    assert len(pools) == 2
    assert model(x).shape == (1, 10)


def test_d3_the_preview_network() -> None:
    model = models.convnet_preview()
    assert model(tc.zeros(2, 3, 32, 32)).shape == (2, 10)
    convolutions = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    assert [m.weight.shape for m in convolutions] == [(10, 3, 3, 3)] + [(10, 10, 3, 3)] * 5
    assert sum(isinstance(m, nn.MaxPool2d) for m in model.modules()) == 3
    (dense,) = (m for m in model.modules() if isinstance(m, nn.Linear))
    assert dense.weight.shape == (10, 160)


def test_d4_dropout_is_random_in_training_and_still_in_inference() -> None:
    x = tc.ones(100, 100)
    tc.manual_seed(7)
    first = F.dropout(x, 0.25, training=True).data
    second = F.dropout(x, 0.25, training=True).data
    tc.manual_seed(7)
    assert (F.dropout(x, 0.25, training=True).data == first).all()
    assert (first != second).any()
    np.testing.assert_allclose(np.unique(first), [0, 4 / 3], rtol=1e-6)
    assert abs((first == 0).mean() - 0.25) < 0.02
    assert (F.dropout(x, 0.25, training=False).data == 1).all()
    layer = nn.Dropout(0.5)
    assert (layer(x).data == 0).any()
    assert (layer.eval()(x).data == 1).all()


def test_d5_batch_normalisation_in_training_and_inference() -> None:
    layer = nn.BatchNorm2d(3)
    x = np.random.default_rng(0).normal(5, 3, (8, 3, 6, 6)).astype(np.float32)
    mean, var = x.mean((0, 2, 3), dtype=float), x.var((0, 2, 3), dtype=float)
    out = layer(tc.tensor(x)).data
    np.testing.assert_allclose(out.mean((0, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(out.var((0, 2, 3)), var / (var + 1e-5), rtol=1e-4)
    count = 8 * 6 * 6
    np.testing.assert_allclose(np.asarray(layer.running_mean), 0.1 * mean, rtol=1e-5)
    np.testing.assert_allclose(np.asarray(layer.running_var), 0.9 + 0.1 * var * count / (count - 1), rtol=1e-5)
    layer.eval()
    running_mean, running_var = np.asarray(layer.running_mean).copy(), np.asarray(layer.running_var).copy()
    still = layer(tc.tensor(x)).data
    shape = (1, 3, 1, 1)
    expected = (x - running_mean.reshape(shape)) / np.sqrt(running_var.reshape(shape) + 1e-5)
    np.testing.assert_allclose(still, expected, rtol=1e-4, atol=1e-5)
    assert (np.asarray(layer.running_mean) == running_mean).all()


def accuracy(model: nn.Module, dataset: data.TensorDataset, shift: int = 0) -> float:
    images, labels = dataset[:]
    with tc.no_grad():
        return float((model(tc.tensor(np.roll(images, shift, 3))).data.argmax(1) == labels).mean())


def test_d6_dense_and_convolutional_on_the_same_data() -> None:
    """The convolutional network has fewer parameters, and loses less when the images move by a pixel."""
    train, test = data.digits("train"), data.digits("test")
    results = []
    for build in (
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10)),
        lambda: models.cnn("8 M 16 M", in_channels=1, image_size=8, num_classes=10),
    ):
        tc.manual_seed(0)
        model = build()
        optimizer = optim.Adam(model.parameters(), lr=5e-3)
        for _ in range(8):
            for images, labels in data.DataLoader(train, 64, shuffle=True, seed=0):
                optimizer.zero_grad()
                F.cross_entropy(model(tc.tensor(images)), labels).backward()
                optimizer.step()
        results.append((count(model), accuracy(model.eval(), test), accuracy(model, test, shift=1)))
    (dense_size, dense, dense_moved), (cnn_size, cnn, cnn_moved) = results
    assert cnn_size < dense_size / 3
    assert dense > 0.93
    assert cnn > 0.93
    assert dense - dense_moved > cnn - cnn_moved


def test_d7_one_step_of_gradient_descent_and_an_op_of_ones_own() -> None:
    swish = tc.op(
        "lecture_swish",
        forward=lambda x: x / (1 + np.exp(-x)),
        vjp=lambda g, x: g * (tc.sigmoid(x) * (1 + x * (1 - tc.sigmoid(x)))),
    )
    w = tc.tensor([0.5, -1.0, 2.0], dtype=np.float64, requires_grad=True)
    before = w.data.copy()
    swish(w).sum().backward()
    step = 1e-6
    slope = [
        (swish(before + step * e).data.sum() - swish(before - step * e).data.sum()) / (2 * step) for e in np.eye(3)
    ]
    np.testing.assert_allclose(w.grad.data, slope, rtol=1e-8)
    optim.SGD([w], lr=0.1).step()
    assert (w.data == before - 0.1 * w.grad.data).all()


def test_d8_gradient_ascent_on_the_input_excites_a_unit() -> None:
    tc.manual_seed(0)
    layer = nn.Conv2d(1, 4, 5)
    x = tc.tensor(0.01 * np.random.default_rng(0).normal(size=(1, 1, 5, 5)).astype(np.float32), requires_grad=True)
    answers = []
    for _ in range(5):
        answer = layer(x)[0, 2, 0, 0]
        answers.append(answer.item())
        (gradient,) = tc.grad(answer, [x])
        x = tc.tensor(x.data + 0.5 * gradient.data, requires_grad=True)
    assert answers == sorted(answers)
    assert answers[-1] > answers[0] + 0.1
    pattern, weight = x.data.ravel(), layer.weight.data[2].ravel()
    assert pattern @ weight > 0.99 * np.linalg.norm(pattern) * np.linalg.norm(weight)


def test_the_page_of_the_lectures_names_every_row() -> None:
    page = (Path(__file__).parent.parent / "docs" / "lectures.md").read_text(encoding="utf-8")
    asserted = {name.split("_")[1].upper() for name in globals() if re.match(r"test_[a-d]\d*_", name)}
    assert asserted == {
        "B",
        *(f"A{i}" for i in range(1, 16)),
        *(f"C{i}" for i in range(1, 8)),
        *(f"D{i}" for i in range(1, 9)),
    }
    cells = re.findall(r"^\| ([A-D][^|]*?) \|", page, re.MULTILINE)
    named = set()
    for cell in cells:
        if span := re.fullmatch(r"([A-D])(\d+) to [A-D](\d+)", cell):
            named |= {f"{span[1]}{i}" for i in range(int(span[2]), int(span[3]) + 1)}
        else:
            named |= set(cell.split(", "))
    assert named == asserted
