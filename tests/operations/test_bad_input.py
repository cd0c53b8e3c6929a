"""What a user gets wrong is said before anything is computed: the function, the argument, the numbers, the fix.

Each call is made with and without gradients: elsewhere, checks that ran in one of the two only let bad input through.
"""

import inspect

import numpy as np
import pytest

import tinygrad_cnn as tc
import tinygrad_cnn.functional as F
from tinygrad_cnn.core.operators import Operators

Shape, Value, Type = tc.ShapeError, ValueError, TypeError


def zeros(*shape):
    return np.zeros(shape, np.float32)


IMAGES, FILTERS, LOGITS, INTEGERS = zeros(2, 3, 4, 4), zeros(6, 3, 3, 3), zeros(2, 3), np.zeros((2, 3), int)
nan, inf = np.nan, np.inf

# The call is given t, which makes Tensors of arrays.
CONVOLUTION = [
    (lambda t: F.conv2d(t(IMAGES[0]), t(FILTERS)), Shape,
     r"conv2d: x must have 4 axes .*x\.shape = \(3, 4, 4\).*x\[None\]"),
    (lambda t: F.conv2d(t(IMAGES), t(FILTERS[0])), Shape,
     r"conv2d: weight must have shape .*weight\.shape = \(3, 3, 3\)"),
    (lambda t: F.conv2d(t(IMAGES), t(FILTERS), groups=2), Shape,
     r"conv2d: weight expects 6 input channels .*groups = 6.*x has 3"),
    (lambda t: F.conv2d(t(IMAGES), t(FILTERS[:5, :1]), groups=3), Shape,
     r"conv2d: groups = 3 must divide the 5 output"),
    (lambda t: F.conv2d(t(IMAGES), t(FILTERS), t(zeros(5))), Shape, r"conv2d: bias must have shape \(6,\).*\(5,\)"),
    (lambda t: F.conv2d(t(IMAGES), t(FILTERS), dilation=2), Shape,
     r"conv2d: along H .* spans 5 .* has 4 .*by at least 1"),
    (lambda t: F.conv2d(t(zeros(2, 3, 0, 4)), t(FILTERS)), Shape, r"conv2d: along H .* has 0"),
    (lambda t: F.conv2d(t(IMAGES), t(FILTERS), stride=0), Value, r"conv2d: stride must be at least 1, got 0"),
    (lambda t: F.conv2d(t(IMAGES), t(FILTERS), padding=-1), Value,
     r"conv2d: padding must not be negative, got -1; F\.pad"),
    (lambda t: F.conv2d(t(IMAGES), t(FILTERS), dilation=(1, -2)), Value, r"conv2d: dilation must be at least 1"),
    (lambda t: F.conv2d(t(IMAGES), t(FILTERS), groups=-1), Value,
     r"conv2d: groups must be an integer of at least 1, got -1"),
    (lambda t: F.conv2d(t(IMAGES), t(FILTERS), padding="half"), Value,
     r"conv2d: padding 'half' is unknown; the words are"),
    (lambda t: F.conv2d(t(IMAGES), t(FILTERS), padding_mode="wrap"), Value,
     r"conv2d: padding_mode must be one of 'zeros', .* got 'wrap'"),
    (lambda t: F.conv2d(t(IMAGES), t(FILTERS.astype(float))), Type, r"conv2d: x is float32, weight is float64.*astype"),
    (lambda t: F.conv2d(IMAGES > 0, FILTERS > 0), Type, r"conv2d: booleans are not summed; use \.astype"),
    (lambda t: F.conv1d(t(IMAGES), t(FILTERS)), Shape, r"conv1d: x must have 3 axes"),
    (lambda t: F.conv3d(t(IMAGES), t(FILTERS)), Shape, r"conv3d: x must have 5 axes .*x\[None\]"),
    (lambda t: F.conv_transpose2d(t(IMAGES), t(FILTERS)), Shape,
     r"conv_transpose2d: weight expects 6 input .* x has 3"),
    (lambda t: F.conv_transpose2d(t(IMAGES), t(FILTERS[:3]), output_padding=1), Value,
     r"conv_transpose2d: output_padding must be smaller than stride or dilation, got 1"),
    (lambda t: F.conv_transpose2d(t(IMAGES), t(FILTERS[:3]), padding=9), Shape, r"conv_transpose2d: padding 9 crops"),
    (lambda t: F.convolve2d(t(IMAGES), t(FILTERS[0])), Shape, r"convolve2d: weight must have 4 axes"),
    (lambda t: F.unfold(t(IMAGES), 5), Shape, r"unfold: along H the kernel spans 5"),
    (lambda t: F.unfold(t(IMAGES), 0), Value, r"unfold: kernel_size must be at least 1"),
    (lambda t: F.fold(t(zeros(1, 8, 5)), 3, 2), Shape, r"fold: x must have shape \(N, C \* 4, 4\).*got \(1, 8, 5\)"),
    (lambda t: F.linear(t(LOGITS), t(zeros(4, 2))), Shape, r"linear: weight expects 2 input features .* x has 3"),
    (lambda t: F.linear(t(IMAGES), t(zeros(4, 48))), Shape, r"linear: .* flatten x first, x\.flatten\(1\) has 48"),
    (lambda t: F.linear(t(LOGITS), t(zeros(4, 3)), t(zeros(3))), Shape,
     r"linear: bias must have shape \(4,\), got \(3,\)"),
]  # fmt: skip
POOLING = [
    (lambda t: F.max_pool2d(t(IMAGES), 5), Shape, r"max_pool2d: along H the kernel spans 5 .* has 4"),
    (lambda t: F.avg_pool2d(t(IMAGES), (2, 9), 1, ceil_mode=True), Shape, r"avg_pool2d: along W the kernel spans 9"),
    (lambda t: F.max_pool2d(t(IMAGES), -2), Value, r"max_pool2d: kernel_size must be at least 1, got -2"),
    (lambda t: F.max_pool2d(t(IMAGES), 2, 0), Value, r"max_pool2d: stride must be at least 1, got 0"),
    (lambda t: F.avg_pool2d(t(IMAGES), 2, 2, 2), Value, r"avg_pool2d: padding must be at most half the kernel, 1 of 2"),
    (lambda t: F.max_pool2d(t(IMAGES), 3, 1, "full"), Value, r"max_pool2d: padding 'full' is unknown"),
    (lambda t: F.max_pool2d(t(zeros(2, 3, 1, 1)), 2, 1, 1, 2), Shape, r"max_pool2d: a window .* holds only padding"),
    (lambda t: F.max_pool1d(t(IMAGES), 2), Shape, r"max_pool1d: x must have 3 axes"),
    (lambda t: F.max_pool2d(t(zeros(2, 3, 0, 4)), 1), Shape, r"max_pool2d: x has no pixels to pool"),
    (lambda t: F.avg_pool2d(IMAGES > 0, 2), Type, r"avg_pool2d: booleans have no mean"),
    (lambda t: F.adaptive_avg_pool2d(t(IMAGES), 0), Value,
     r"adaptive_avg_pool2d: output_size must be at least 1, got 0"),
    (lambda t: F.adaptive_max_pool2d(t(IMAGES), (1, 2, 3)), Value,
     r"adaptive_max_pool2d: output_size must be an int or 2"),
    (lambda t: F.global_avg_pool(t(LOGITS)), Shape, r"global_avg_pool: x must have axes \(N, C, \.\.\.\)"),
    (lambda t: F.global_max_pool(t(zeros(2, 3, 0))), Shape, r"global_max_pool: .* at least one pixel"),
    (lambda t: F.max_unpool2d(t(IMAGES), np.full(IMAGES.shape, 64), 2), Value,
     r"max_unpool2d: indices\[0, 0, 0, 0\] = 64 lies outside planes of \(8, 8\)"),
    (lambda t: F.max_unpool2d(t(IMAGES), np.zeros((2, 3, 4)), 2), Shape, r"max_unpool2d: indices must be integers"),
    (lambda t: F.interpolate(t(LOGITS), 2), Shape,
     r"interpolate: .*x must have axes \(N, C, L\) or .*x\.shape = \(2, 3\)"),
    (lambda t: F.interpolate(t(IMAGES[0]), 2, mode="bilinear"), Shape,
     r"interpolate: .*x must have axes \(N, C, H, W\)"),
    (lambda t: F.interpolate(t(zeros(2, 3, 0, 4)), 2), Shape, r"interpolate: .*with pixels; x\.shape = \(2, 3, 0, 4\)"),
    (lambda t: F.interpolate(t(IMAGES)), Value, r"interpolate: give either size or scale_factor, got size=None"),
    (lambda t: F.interpolate(t(IMAGES), 2, 2), Value, r"interpolate: give either size or scale_factor, got size=2"),
    (lambda t: F.interpolate(t(IMAGES), 0), Value, r"interpolate: size must be at least 1, got 0"),
    (lambda t: F.interpolate(t(IMAGES), scale_factor=-1), Value,
     r"interpolate: scale_factor must be a positive number"),
    (lambda t: F.interpolate(t(IMAGES), scale_factor=inf), Value,
     r"interpolate: scale_factor must be a positive number"),
    (lambda t: F.interpolate(t(IMAGES), scale_factor=(2, 2, 2)), Value,
     r"interpolate: scale_factor must be .* or 2 of them"),
    (lambda t: F.interpolate(t(IMAGES), scale_factor=0.1), Shape, r"interpolate: scale_factor 0\.1 leaves no pixel"),
    (lambda t: F.interpolate(t(IMAGES), 2, mode="cubic"), Value,
     r"interpolate: mode must be one of 'nearest', 'bilinear', got 'cubic'"),
    (lambda t: F.interpolate(t(IMAGES), 2, align_corners=True), Value,
     r"interpolate: align_corners is an option of mode"),
    (lambda t: F.interpolate(np.zeros((1, 1, 2, 2), int), 3, mode="bilinear"), Type, r"interpolate: .*floating.*int64"),
    (lambda t: F.pad(t(IMAGES), (1, 2, 3)), Value, r"pad: pads must be one \(before, after\) pair"),
    (lambda t: F.pad(t(IMAGES), ((1, 1),) * 5), Shape, r"pad: .* are for 5 axes, x has 4"),
    (lambda t: F.pad(t(IMAGES), (4, 0), "reflect"), Shape,
     r"pad: mode 'reflect' can pad axis 3 of length 4 by at most 3"),
    (lambda t: F.pad(t(IMAGES), (-3, -3)), Shape, r"pad: pads \(-3, -3\) crop more than the 4"),
    (lambda t: F.pad(t(IMAGES), (1, 1), "wrap"), Value, r"pad: mode must be one of 'constant', .* got 'wrap'"),
    (lambda t: F.pad(np.arange(3), (1, 1), value=nan), Type, r"pad: value nan is no int64"),
]  # fmt: skip
NORMALISATION = [
    (lambda t: F.batch_norm(t(LOGITS[0]), training=True), Shape, r"batch_norm: x must have at least 2 axes"),
    (lambda t: F.batch_norm(t(zeros(1, 3)), training=True), Value,
     r"batch_norm: in training .* more than one value .*\(1, 3\)"),
    (lambda t: F.batch_norm(t(LOGITS), None, None, t(zeros(2))), Shape,
     r"batch_norm: weight must have shape \(3,\), got \(2,\)"),
    (lambda t: F.batch_norm(t(LOGITS), zeros(2), zeros(2)), Shape, r"batch_norm: running_mean must have shape \(3,\)"),
    (lambda t: F.batch_norm(t(LOGITS), zeros(3)), Value, r"batch_norm: give both running_mean and running_var"),
    (lambda t: F.batch_norm(t(LOGITS), eps=0), Value, r"batch_norm: eps must be a number in \(0, inf\), got 0"),
    (lambda t: F.batch_norm(t(LOGITS), eps=nan), Value, r"batch_norm: eps must be a number in \(0, inf\), got nan"),
    (lambda t: F.batch_norm(t(LOGITS), zeros(3), zeros(3), momentum=1.5), Value,
     r"batch_norm: momentum .* \[0, 1\], got 1\.5"),
    (lambda t: F.batch_norm(t(LOGITS), [0.0] * 3, zeros(3), training=True), Type,
     r"batch_norm: running_mean is .* got list"),
    (lambda t: F.batch_norm(t(LOGITS), np.zeros(3, int), zeros(3), training=True), Type, r"batch_norm: .* got int64"),
    (lambda t: F.batch_norm(t(LOGITS), np.zeros(3), np.ones(3)), Type,
     r"batch_norm: x is float32, running_mean is float64; convert one with \.astype"),
    (lambda t: F.cross_entropy(t(LOGITS), [0, 1], np.ones(3)), Type,
     r"cross_entropy: logits is float32, weight is float64; convert one with \.astype"),
    (lambda t: F.batch_norm(t(LOGITS), zeros(3), np.broadcast_to(np.float32(1), 3), training=True), Type,
     r"running_var .* read-only"),
    (lambda t: F.batch_norm(INTEGERS, training=True), Type, r"batch_norm: x must be floating, got int64"),
    (lambda t: F.batch_norm(t(LOGITS), weight=t(np.ones(3))), Type, r"batch_norm: x is float32, weight is float64"),
    (lambda t: F.layer_norm(t(LOGITS), 2), Shape,
     r"layer_norm: normalized_shape \(2,\) is not the end of x\.shape = \(2, 3\)"),
    (lambda t: F.layer_norm(t(LOGITS), 3.0), Type,
     r"layer_norm: normalized_shape must be an integer of at least 1, got 3\.0"),
    (lambda t: F.layer_norm(t(LOGITS), 3, t(zeros(2))), Shape,
     r"layer_norm: weight must have shape \(3,\), got \(2,\)"),
    (lambda t: F.group_norm(t(IMAGES), 2), Shape, r"group_norm: 2 groups must divide the 3 channels"),
    (lambda t: F.group_norm(t(IMAGES), 0), Value, r"group_norm: num_groups must be an integer of at least 1, got 0"),
    (lambda t: F.instance_norm(t(zeros(2, 3, 1))), Value, r"instance_norm: .* more than one pixel .*\(2, 3, 1\)"),
    (lambda t: F.instance_norm(t(IMAGES), zeros(2), zeros(2)), Shape,
     r"instance_norm: running_mean must have shape \(3,\)"),
    (lambda t: F.instance_norm(t(IMAGES), zeros(3)), Value, r"instance_norm: give both"),
    (lambda t: F.instance_norm(t(IMAGES), use_input_stats=False), Value, r"instance_norm: use_input_stats=False needs"),
    (lambda t: F.dropout(t(LOGITS), 1.5), Value, r"dropout: p must be a number in \[0, 1\], got 1\.5"),
    (lambda t: F.dropout(t(LOGITS), nan), Value, r"dropout: p .* got nan"),
    (lambda t: F.dropout2d(t(LOGITS)), Shape, r"dropout2d: x must have 4 axes \(N, C, H, W\), x\.shape = \(2, 3\)"),
]  # fmt: skip
LOSSES = [
    (lambda t: F.cross_entropy(t(LOGITS), [0, 3]), Value,
     r"cross_entropy: target\[1\] is 3, but there are 3 classes, 0 to 2"),
    (lambda t: F.cross_entropy(t(LOGITS), [-1, 3]), Value, r"cross_entropy: target\[0\] is -1"),
    (lambda t: F.cross_entropy(t(LOGITS[0]), 5), Value, r"cross_entropy: target is 5, but there are 3 classes"),
    (lambda t: F.cross_entropy(t(LOGITS), [0.0, 1.0]), Value,
     r"cross_entropy: target .* must be integer .* got float32"),
    (lambda t: F.cross_entropy(t(LOGITS), [True, False]), Value, r"cross_entropy: target .* got bool of shape \(2,\)"),
    (lambda t: F.cross_entropy(t(LOGITS), [0, 1, 2]), Shape,
     r"cross_entropy: target .* must have shape \(2,\), got \(3,\)"),
    (lambda t: F.cross_entropy(t(IMAGES), np.zeros((2, 4, 5), int)), Shape,
     r"must have shape \(2, 4, 4\), got \(2, 4, 5\)"),
    (lambda t: F.cross_entropy(t(LOGITS), LOGITS - 0.5), Value,
     r"cross_entropy: target\[0, 0\] is -0\.5, but probabilities"),
    (lambda t: F.cross_entropy(t(LOGITS), LOGITS.astype(float)), Type,
     r"cross_entropy: logits is float32, target is float64"),
    (lambda t: F.cross_entropy(INTEGERS, [0, 1]), Shape,
     r"cross_entropy: logits must be floating.*int64 of shape \(2, 3\)"),
    (lambda t: F.cross_entropy(t(zeros()), 0), Shape, r"cross_entropy: logits .*of shape \(\)"),
    (lambda t: F.cross_entropy(t(zeros(2, 0)), [0, 0]), Shape, r"cross_entropy: .*at least one class.*\(2, 0\)"),
    (lambda t: F.cross_entropy(t(LOGITS), [0, 1], zeros(2)), Shape,
     r"cross_entropy: weight must have shape \(3,\).*\(2,\)"),
    (lambda t: F.cross_entropy(t(LOGITS), [0, 1], tc.ones(3).requires_grad_()), Value,
     r"cross_entropy: weight .*detach"),
    (lambda t: F.cross_entropy(t(LOGITS), [0, 1], label_smoothing=1.5), Value,
     r"cross_entropy: label_smoothing .* got 1\.5"),
    (lambda t: F.cross_entropy(t(LOGITS), [0, 1], reduction="avg"), Value,
     r"reduction must be one of 'mean', 'sum', 'none'"),
    (lambda t: F.nll_loss(t(LOGITS), [0, 3]), Value, r"nll_loss: target\[1\] is 3, but there are 3 classes"),
    (lambda t: F.nll_loss(t(LOGITS), LOGITS), Value,
     r"nll_loss: target for input of shape \(2, 3\) must be integer classes"),
    (lambda t: F.nll_loss(t(LOGITS), [0]), Shape, r"nll_loss: target .* must have shape \(2,\), got \(1,\)"),
    *[
        (lambda t, f=f: f(t(LOGITS), t(LOGITS[:1])), Shape, rf"{f.__name__}: input has shape \(2, 3\), target \(1, 3\)")
        for f in (F.mse_loss, F.l1_loss, F.huber_loss, F.binary_cross_entropy_with_logits, F.kl_div)
    ],
    (lambda t: F.mse_loss(t(LOGITS), t(LOGITS), reduction="avg"), Value,
     r"mse_loss: reduction must be one of .* got 'avg'"),
    (lambda t: F.huber_loss(t(LOGITS), t(LOGITS), delta=0), Value,
     r"huber_loss: delta must be a number above 0, got 0"),
    (lambda t: F.huber_loss(t(LOGITS), t(LOGITS), delta=nan), Value,
     r"huber_loss: delta must be a number above 0, got nan"),
    (lambda t: F.binary_cross_entropy_with_logits(t(LOGITS), LOGITS + 2), Value, r"with_logits: target\[0, 0\] is 2"),
    (lambda t: F.binary_cross_entropy_with_logits(t(LOGITS), LOGITS, pos_weight=zeros(2)), Shape,
     r"pos_weight of shape \(2,\)"),
    (lambda t: F.binary_cross_entropy_with_logits(t(LOGITS), LOGITS, zeros(1, 2, 3)), Shape,
     r"weight of shape \(1, 2, 3\)"),
    (lambda t: F.kl_div(t(LOGITS), LOGITS - 1), Value,
     r"kl_div: target\[0, 0\] is -1, but probabilities lie in \[0, 1\]"),
    (lambda t: F.kl_div(t(zeros()), zeros(), reduction="batchmean"), Shape,
     r"kl_div: .* first axis, and input has none"),
    (lambda t: F.embedding([0, 5], t(LOGITS)), Value, r"embedding: input\[1\] is 5, but the table has 2 rows"),
    (lambda t: F.embedding([[-1]], t(LOGITS)), Value, r"embedding: input\[0, 0\] is -1"),
    (lambda t: F.embedding([0.0], t(LOGITS)), Type, r"embedding: input must be integers, got float32"),
    (lambda t: F.embedding([0], t(IMAGES)), Shape, r"embedding: weight must have shape \(rows, features\)"),
    (lambda t: F.embedding([0], t(LOGITS), 2), Value, r"embedding: padding_idx must be an integer in \[-2, 1\], got 2"),
    (lambda t: F.one_hot([0, 3], 3), Value, r"one_hot: labels\[1\] is 3, but there are 3 classes, 0 to 2"),
    (lambda t: F.one_hot([-1]), Value, r"one_hot: num_classes must be positive|labels\[0\] is -1"),
    (lambda t: F.one_hot([0.5]), Type, r"one_hot: labels must be integers"),
    (lambda t: F.one_hot(np.zeros(0, int)), Value, r"one_hot: num_classes must be given for no labels"),
    (lambda t: F.one_hot([0], 0), Value, r"one_hot: num_classes must be positive, got 0"),
]  # fmt: skip
METHODS = [
    (lambda t: t(LOGITS) @ t(LOGITS), Shape, r"matmul: shapes \(2, 3\) and \(2, 3\) do not fit"),
    (lambda t: t(LOGITS) + t(zeros(4)), Shape, r"add: shapes \(2, 3\) and \(4,\) do not broadcast"),
    (lambda t: tc.exp(None), Type, r"exp: input 'x' must be a Tensor, an array or a number, got NoneType"),
    (lambda t: tc.exp("a"), Type, r"exp: input 'x' must be .* got str"),
    (lambda t: F.hardtanh(t(LOGITS), 1.0, -1.0), Value,
     r"hardtanh: min_val must be a number of at most -1\.0, got 1\.0"),
    (lambda t: F.softplus(t(LOGITS), 0.0), Value, r"softplus: beta must be a number above 0, got 0\.0"),
    (lambda t: F.softmax(t(LOGITS), 2), Value, r"softmax: axis 2 is out of range for the 2 axes of shape \(2, 3\)"),
    (lambda t: t(LOGITS).sum((0, -2)), Value, r"sum: axes \(0, -2\) name the same axis twice"),
    (lambda t: t(LOGITS).sum(0.5), Type, r"sum: an axis must be an integer, got 0\.5"),
    (lambda t: t(LOGITS).max((0, 1)), Type, r"max: takes one axis.*x\.amax\(axis=\(0, 1\)\)"),
    (lambda t: t(zeros(0, 3)).max(0), Value,
     r"max: of no elements there is none to choose; shape \(0, 3\), axis \(0,\)"),
    (lambda t: t(LOGITS).reshape(4, 2), Shape, r"reshape: shape \(2, 3\) with 6 elements does not fit into \(4, 2\)"),
    (lambda t: t(LOGITS).reshape(-2, 3), Value, r"reshape: lengths must not be negative but for one -1, got \(-2, 3\)"),
    (lambda t: t(LOGITS).transpose(0), Value, r"transpose: axes \(0,\) .* x\.swapaxes"),
    (lambda t: t(LOGITS).squeeze(0), Value, r"squeeze: axis 0 has length 2, not 1"),
    (lambda t: t(LOGITS).broadcast_to(3), Shape, r"broadcast_to: shape \(2, 3\) does not broadcast to \(3,\)"),
    (lambda t: t(LOGITS).roll((1, 2), 0), Value, r"roll: 2 shifts \(1, 2\) for 1 axes \(0,\)"),
    (lambda t: t(LOGITS).roll(0.5, 0), Type, r"roll: expected integers, got \(0\.5,\)"),
    (lambda t: t(LOGITS).tile(-1), Value, r"tile: repeats must not be negative, got \(-1,\)"),
    (lambda t: t(LOGITS).split(0), Value, r"split: the size must be positive, got 0"),
    (lambda t: t(LOGITS).split([1, 2]), Value, r"split: sizes \[1, 2\] must sum to 2, the length of axis 0"),
    (lambda t: t(LOGITS).topk(4), Value,
     r"topk: k must be an integer from 0 to 3, the length of axis 1 of \(2, 3\), got 4"),
    (lambda t: t(LOGITS).topk(-1), Value, r"topk: k must be .* got -1"),
    (lambda t: t(LOGITS).take_along_axis([[5]], 1), IndexError,
     r"take_along_axis: index 5 is out of bounds .*\(2, 3\)"),
    (lambda t: t(LOGITS).take_along_axis([0], 1), IndexError, r"take_along_axis: .* same number of dimensions"),
    (lambda t: t(LOGITS).masked_fill(np.ones((2, 3)), 0), Type, r"masked_fill: the mask must be boolean, got float64"),
    (lambda t: t(LOGITS).masked_fill(np.ones((2, 2), bool), 0), Value,
     r"masked_fill: a mask of shape \(2, 2\) does not"),
    (lambda t: t(LOGITS).masked_fill(np.ones((4, 2, 3), bool), 0), Value, r"masked_fill: a mask of shape \(4, 2, 3\)"),
    (lambda t: t(LOGITS).masked_fill(np.ones((2, 3), bool), zeros(3)), Value, r"masked_fill: value must be one number"),
    (lambda t: t(LOGITS)[5], IndexError, r"getitem: index 5 is out of bounds .* shape \(2, 3\)"),
    (lambda t: tc.cat([t(LOGITS), t(IMAGES)]), Shape,
     r"cat: tensors\[1\] has shape \(2, 3, 4, 4\), tensors\[0\] \(2, 3\)"),
    (lambda t: tc.stack([t(LOGITS), t(LOGITS)], 5), Shape,
     r"stack: axis 5 is out of range for the 3 axes of the result"),
    (lambda t: tc.einsum("ij,jk", t(LOGITS)), Value, r"einsum: 'ij,jk' has 2 terms for 1 operands"),
    (lambda t: tc.einsum("ijk->i", t(LOGITS)), Shape, r"einsum: term 'ijk' .* names 3 axes, operands\[0\] has 2"),
    (lambda t: tc.einsum("ij->k", t(LOGITS)), Value, r"einsum: the output of 'ij->k' has 'k', which no term has"),
    (lambda t: tc.einsum("ij->ii", t(LOGITS)), Value, r"einsum: the output of 'ij->ii' names a letter twice"),
    (lambda t: tc.einsum("ij->1", t(LOGITS)), Value, r"einsum: 'ij->1' may hold letters.* not '1'"),
    (lambda t: tc.einsum("ii", t(LOGITS)), Shape, r"einsum: one letter of 'ii' has lengths 2 and 3"),
    (lambda t: tc.einsum("ij,ij", t(LOGITS), t(zeros(2, 4))), Shape,
     r"einsum: one letter .* lengths 3 and 4 in shapes"),
    (lambda t: tc.einsum("i,i", t(zeros(3)), t(np.zeros(3))), Type, r"einsum: operands\[0\] is float32, .*float64"),
]  # fmt: skip
CALLS = [*CONVOLUTION, *POOLING, *NORMALISATION, *LOSSES, *METHODS]


@pytest.mark.parametrize(("call", "error", "message"), CALLS, ids=[message for *_, message in CALLS])
def test_errors_name_the_function_the_numbers_and_the_fix(call, error, message):
    def said(requires_grad):
        with pytest.raises(error, match=message) as caught:
            call(lambda array: tc.tensor(array, requires_grad=requires_grad))
        assert type(caught.value) is error
        return str(caught.value)

    with tc.no_grad():
        silent = said(requires_grad=True)
    assert said(requires_grad=True) == said(requires_grad=False) == silent


X = tc.tensor(LOGITS)
OF_AN_AXIS = (
    "sum", "mean", "var", "std", "prod", "amax", "amin", "max", "min", "argmax", "argmin", "cumsum", "logsumexp",
    "norm", "softmax", "log_softmax", "all", "any", "flip", "sort", "squeeze", "expand_dims",
)  # fmt: skip
WORDS = [
    *[(lambda f=f: f(X, dim=1), rf"{f.__name__}: write axis= for dim=") for f in (F.softmax, F.log_softmax)],
    *[
        (lambda name=name: getattr(X, name)(dim=1), rf"{name}: write axis= for dim=")
        for name in OF_AN_AXIS
    ],
    (lambda: X.topk(1, dim=0), r"topk: write axis= for dim="),
    (lambda: X.split(1, dim=0), r"split: write axis= for dim="),
    (lambda: X.roll(1, dims=0), r"roll: write axis= for dims="),
    (lambda: X.flip(dims=(0,)), r"flip: write axis= for dims="),
    (lambda: X.sum(axis=1, keepdim=True), r"sum: write keepdims= for keepdim="),
    (lambda: X.mean(dim=1, keepdim=True), r"mean: write axis= for dim= and keepdims= for keepdim="),
    (lambda: X.var(unbiased=False), r"var: write correction= for unbiased="),
    (lambda: tc.cat([X, X], dim=1), r"cat: write axis= for dim="),
    (lambda: tc.stack([X, X], dim=1), r"stack: write axis= for dim="),
]  # fmt: skip


@pytest.mark.parametrize(("call", "message"), WORDS, ids=[message for _, message in WORDS])
def test_pytorchs_words_for_axes_are_refused_by_naming_ours(call, message):
    with pytest.raises(TypeError, match=message):
        call()


def test_every_function_of_an_axis_refuses_dim():
    methods = [value for name, value in vars(Operators).items() if not name.startswith("_") and callable(value)]
    public = [*methods, *(getattr(F, name) for name in F.__all__), tc.cat, tc.stack]
    of_an_axis = [f for f in public if "axis" in inspect.signature(f).parameters]
    assert len(of_an_axis) > 25
    for f in of_an_axis:
        with pytest.raises(TypeError, match=f"{f.__name__}: write axis= for dim="):
            f(X, dim=0)
