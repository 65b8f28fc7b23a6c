"""The field's neural news ranker on the same frozen text vectors: NRMS (Wu et al., EMNLP 2019), its word encoder replaced by ours.

Letters: P positives, S candidates of each (the first is the positive), H history length, D text width, E its own width.
"""

from collections import deque

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.ranker.peers.candidates import Candidates, Floats, Ints
from pipelines.hours import hours_between

WIDTH, HEADS, DROPOUT = 64, 4, 0.2
NEGATIVES = 4  # of each positive, as in the paper
BATCH, REPLAY_DAYS = 48, 28
DEFAULT = {"rate": 1e-3, "steps": 2}  # Adam; after each hour, half of a batch from it and half from the days before
DIMENSIONS = (({"rate": 3e-4}, {"rate": 3e-3}), ({"steps": 4},))


class NRMSHead(nn.Module):
    """User vector: self-attention over the history's projected texts and one learned token, pooled additively."""

    def __init__(self, text_width: int) -> None:
        super().__init__()
        self.project = nn.Linear(text_width, WIDTH)
        self.nobody = nn.Parameter(torch.zeros(WIDTH))  # the token: all there is of a user without history
        self.attend = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
        self.query = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Tanh(), nn.Linear(WIDTH, 1, bias=False))
        self.drop = nn.Dropout(DROPOUT)

    def items(self, texts: Tensor) -> Tensor:
        """(..., D) to (..., E)."""
        return self.project(texts)

    def users(self, history: Tensor, there: Tensor) -> Tensor:
        """(B, H, E) of the projected history and (B, H) to (B, E)."""
        clicked = self.drop(torch.cat([self.nobody.expand(len(history), 1, -1), history], 1))  # (B, 1 + H, E)
        empty = F.pad(~there, (1, 0), value=False)
        mixed = self.drop(self.attend(clicked, clicked, clicked, key_padding_mask=empty, need_weights=False)[0])
        weight = self.query(mixed).squeeze(-1).masked_fill(empty, -torch.inf).softmax(1)  # (B, 1 + H)
        return (weight.unsqueeze(1) @ mixed).squeeze(1)


class NRMS:
    """Learns after each hour by ``steps`` steps of softmax over a positive and four negatives of its set.

    vectors: (N+1, D), row 0 is none; only rows of items that were known by then are looked at.
    """

    def __init__(self, vectors: Tensor, rate: float, steps: int, seed: int = 1) -> None:
        torch.manual_seed(seed)
        self._texts = F.layer_norm(vectors, vectors.shape[1:])
        self._steps, self._rng = steps, np.random.default_rng(seed)
        self.head = NRMSHead(vectors.shape[1])
        self._optimizer = torch.optim.Adam(self.head.parameters(), lr=rate)
        self._seen: deque[tuple[str, Ints, Ints]] = deque()

    def predict(self, candidates: Candidates) -> Floats | None:
        if not self._seen:
            return None
        self.head.eval()
        with torch.no_grad():
            history, items = self._projected(candidates.history, candidates.item)
            users = self.head.users(history, torch.from_numpy(candidates.history > 0))[torch.from_numpy(candidates.user)]
        return (users * items).sum(1).double().numpy()

    def observe(self, candidates: Candidates, label: Floats) -> None:
        history, items = positives_with_negatives(candidates, label, self._rng)
        if not len(items):
            return
        before = list(self._seen)
        self._seen.append((candidates.hour, history, items))
        while hours_between(self._seen[0][0], candidates.hour) > 24 * REPLAY_DAYS:
            self._seen.popleft()
        self.head.train()
        for _ in range(self._steps):
            self._step(*self._batch(before, history, items))

    def _batch(self, before: list[tuple[str, Ints, Ints]], history: Ints, items: Ints) -> tuple[Ints, Ints]:
        """Half of the hour, half of what was kept before it; fewer where there is less."""
        fresh = self._rng.permutation(len(items))[: BATCH // 2]
        histories, slates = [history[fresh]], [items[fresh]]
        ends = np.cumsum([len(kept) for _, _, kept in before], dtype=np.int64)
        for number in self._rng.integers(0, ends[-1], BATCH // 2) if len(ends) else ():
            hour = int(np.searchsorted(ends, number, side="right"))
            row = int(number - ends[hour])
            histories.append(before[hour][1][row : row + 1])
            slates.append(before[hour][2][row : row + 1])
        return np.concatenate(histories), np.concatenate(slates)

    def _step(self, history: Ints, items: Ints) -> None:
        past, slates = self._projected(history, items)  # (P, H, E), (P, S, E)
        users = self.head.users(past, torch.from_numpy(history > 0))
        logits = (users.unsqueeze(1) * self.head.drop(slates)).sum(-1)  # (P, S)
        loss = F.cross_entropy(logits, torch.zeros(len(items), dtype=torch.long))
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()

    def _projected(self, history: Ints, items: Ints) -> tuple[Tensor, Tensor]:
        """Both with E instead of an item row; each item is projected once."""
        rows, place = np.unique(np.concatenate([history.ravel(), items.ravel()]), return_inverse=True)
        found = self.head.items(self._texts[torch.from_numpy(rows)])[torch.from_numpy(place)]
        return found[: history.size].view(*history.shape, -1), found[history.size :].view(*items.shape, -1)


def positives_with_negatives(candidates: Candidates, label: Floats, rng: np.random.Generator) -> tuple[Ints, Ints]:
    """Histories (P, H) and items (P, S): each positive, then draws from the negatives of its set; sets without a negative are left out."""
    negative = np.flatnonzero(label < 0.5)
    negative = negative[np.argsort(candidates.group[negative], kind="stable")]
    counts = np.bincount(candidates.group[negative], minlength=int(candidates.group.max()) + 1)
    positive = np.flatnonzero(label >= 0.5)
    positive = positive[counts[candidates.group[positive]] > 0]
    count, start = counts[candidates.group[positive]], (np.cumsum(counts) - counts)[candidates.group[positive]]
    drawn = start[:, None] + (rng.random((len(positive), NEGATIVES)) * count[:, None]).astype(np.int64)
    items = np.concatenate([candidates.item[positive][:, None], candidates.item[negative[drawn]].reshape(-1, NEGATIVES)], axis=1)
    return candidates.history[candidates.user[positive]], items
