"""A table that is looked up by integers."""

from __future__ import annotations

from typing import Any

import tinygrad_cnn.functional as F
from tinygrad_cnn.checks import integer
from tinygrad_cnn.core.tensor import Tensor
from tinygrad_cnn.nn import init
from tinygrad_cnn.nn.module import Module
from tinygrad_cnn.nn.parameter import empty_parameter


class Embedding(Module):
    """`F.embedding` with a table, weight (num_embeddings, embedding_dim), that starts normal(0, 1).

    The row padding_idx starts at 0 and gets no gradient.

    >>> Embedding(10, 3)([[1, 2], [9, 0]]).shape
    (2, 2, 3)
    """

    def __init__(
        self, num_embeddings: int, embedding_dim: int, padding_idx: int | None = None, *, dtype: Any = None
    ) -> None:
        rows = self.num_embeddings = integer("Embedding", "num_embeddings", num_embeddings, least=1)
        self.embedding_dim = integer("Embedding", "embedding_dim", embedding_dim, least=1)
        self.padding_idx: int | None = None
        if padding_idx is not None:
            self.padding_idx = integer("Embedding", "padding_idx", padding_idx, least=-rows, most=rows - 1) % rows
        self.weight = empty_parameter("Embedding", (num_embeddings, embedding_dim), dtype)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the table anew."""
        init.normal_(self.weight)
        if self.padding_idx is not None:
            self.weight.data[self.padding_idx] = 0

    def forward(self, input: Any) -> Tensor:
        return F.embedding(input, self.weight, self.padding_idx)

    def extra_repr(self) -> str:
        padding = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        return f"{self.num_embeddings}, {self.embedding_dim}{padding}"
