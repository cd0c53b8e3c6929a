"""The exceptions of the package, each derived from the built-in one a caller would catch."""

from __future__ import annotations

import importlib
import os
from types import ModuleType

__all__ = ["CheckpointError", "ShapeError", "TapeError", "import_extra"]


class ShapeError(ValueError):
    """Shapes that do not fit; the message names the op, the shapes and what would fit."""


class TapeError(RuntimeError):
    """A backward pass that cannot give the right number: freed, written over, or never recorded."""


class CheckpointError(RuntimeError):
    """A file that is not a whole, unharmed checkpoint; `path` and `reason` are attributes.

    >>> str(CheckpointError("net.npz", "the file is truncated"))
    'net.npz: the file is truncated'
    """

    def __init__(self, path: str | os.PathLike[str], reason: str) -> None:
        super().__init__(path, reason)
        self.path, self.reason = os.fspath(path), reason

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


def import_extra(module: str, extra: str, purpose: str) -> ModuleType:
    """Imports an optional dependency, or raises an ImportError that names the command to install it.

    >>> import_extra("a_missing_module", "data", "data.digits")
    Traceback (most recent call last):
    ImportError: data.digits needs a_missing_module: pip install "tinygrad_cnn[data]"
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        distribution = {"sklearn": "scikit-learn", "PIL": "pillow"}.get(package, package)
        raise ImportError(f'{purpose} needs {distribution}: pip install "tinygrad_cnn[{extra}]"') from error
