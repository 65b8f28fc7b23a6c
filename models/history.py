"""A user's history as vectors, and how a candidate resembles it.

Letters: U users, H history length, C candidates a user, D projected width, M item rows.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.records import UserState


@dataclass(frozen=True)
class EncodedHistory:
    """The user side of the similarity figures, computed once a user."""

    vectors: Tensor  # (U, H, D) unit vectors
    rows: Tensor  # (U, H) item rows, 0 = padding
    attention_bias: Tensor  # (U, H) age and reaction term of the attention
    mean: Tensor  # (U, D)
    recent: Tensor  # (U, D) mean weighted by recency and reaction

    def slice(self, users: slice) -> "EncodedHistory":
        parts = (self.vectors, self.rows, self.attention_bias, self.mean, self.recent)
        return EncodedHistory(*(part[users] for part in parts))


def masked_softmax(logits: Tensor, mask: Tensor) -> Tensor:
    """Softmax over the last dimension where mask is True; all zeros where nothing is."""
    return logits.masked_fill(~mask, -1e9).softmax(-1) * mask


class HistoryEncoder(nn.Module):
    """Mean, recency-weighted mean and target attention over the history; ages enter as log1p(hours)."""

    def __init__(self) -> None:
        super().__init__()
        self.recency_decay = nn.Parameter(torch.tensor(0.5))
        self.recency_gain = nn.Parameter(torch.tensor(1.0))
        self.attention_decay = nn.Parameter(torch.tensor(0.1))
        self.attention_gain = nn.Parameter(torch.tensor(1.0))
        self.attention_log_scale = nn.Parameter(torch.tensor(1.5))

    def forward(self, user: UserState, rows: Tensor, text: Tensor) -> EncodedHistory:
        """rows: (U, H) rows of text (M, D), 0 = padding."""
        mask = rows > 0
        vectors = F.embedding(rows, text)  # (U, H, D)
        log_age = user.history_age_h.log1p()
        recency = masked_softmax(self.recency_gain * user.history_weight - self.recency_decay * log_age, mask)
        uniform = mask / mask.sum(-1, keepdim=True).clamp(min=1)
        means = torch.bmm(torch.stack([uniform, recency], dim=1), vectors)  # (U, 2, D)
        bias = self.attention_gain * user.history_weight - self.attention_decay * log_age
        return EncodedHistory(vectors, rows, bias, means[:, 0], means[:, 1])

    def compare(self, history: EncodedHistory, text: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Candidates against the history.

        text: (U, C, D) candidate vectors; rows: (U, C) in the numbering of history.rows. Returns four similarities
        (U, C, 4): to the mean, to the recent mean, the largest to *other* items, to the attention pool; and the pool
        (U, C, D). An empty history gives zeros.
        """
        mask = (history.rows > 0).unsqueeze(1)  # (U, 1, H)
        similarity = torch.bmm(text, history.vectors.transpose(1, 2))  # (U, C, H)
        other = mask & (history.rows.unsqueeze(1) != rows.unsqueeze(2))  # (U, C, H)
        largest = similarity.masked_fill(~other, -1.0).amax(-1) * other.any(-1)
        logits = self.attention_log_scale.exp() * similarity + history.attention_bias.unsqueeze(1)
        pool = torch.bmm(masked_softmax(logits, mask), history.vectors)  # (U, C, D)
        means = torch.stack([history.mean, history.recent], dim=-1)  # (U, D, 2)
        figures = [torch.bmm(text, means), largest.unsqueeze(-1), (text * pool).sum(-1, keepdim=True)]
        return torch.cat(figures, dim=-1), pool  # (U, C, 4), (U, C, D)
