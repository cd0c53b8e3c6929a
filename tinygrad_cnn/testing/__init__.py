from tinygrad_cnn.testing.gradchecks import DEFAULT_CHECKS, adjoint_check, gradcheck, gradgradcheck
from tinygrad_cnn.testing.reports import GradcheckError, GradReport
from tinygrad_cnn.testing.specs import ErrorCase, OpCase, OpSpec, cases, register_op
__all__ = ["DEFAULT_CHECKS", "GradReport", "GradcheckError", "adjoint_check", "gradcheck", "gradgradcheck", "cases", "register_op", "OpCase"]
