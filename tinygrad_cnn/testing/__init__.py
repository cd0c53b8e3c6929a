from tinygrad_cnn.testing.gradchecks import DEFAULT_CHECKS, gradcheck
from tinygrad_cnn.testing.reports import GradcheckError, GradReport
__all__ = ["DEFAULT_CHECKS", "GradReport", "GradcheckError", "gradcheck"]
