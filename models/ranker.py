"""The ranker: counters, frozen vectors of texts and images and the history of a user, to one logit a task.

Letters: U users, C candidates a user, B rows, D projected width, T tasks, X cross counters, F features of a pair.
No id embeddings: items are their text, image and counters, users their history, so new ids need no new rows.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.config import ModelConfig
from models.content import GatedFusion, UnitProjection
from models.history import EncodedHistory, HistoryEncoder
from models.metrics import logistic_fit
from models.records import ItemState, ItemTable, RankerBatch, UserState
from models.standardize import Standardizer

_PAIRS_AT_ONCE = 4096  # keeps the intermediates of `score` in the processor's cache: 5x faster than 260,000 at once


_LIMIT = 20.0  # live counters are a hundred times those of a history: at 5 every popular item looked the same
_POPULAR = 3.0  # log-odds: most that popularity adds to the towers' dot product, or takes from it
_ROWS_AT_ONCE, _CALIBRATION_ROWS = 4096, 65_536
LEAST_SCALE = 0.05  # a task whose labels say nothing yet keeps its order
LEAST_LABELS = 10  # positives, and negatives, that a task needs for being calibrated
# log-odds a unit of cosine, and the cosine of a text that fits: of the best known items and the best fitting ones, these come first
RELEVANCE_GAIN, FITTING = 20.0, 0.6


@dataclass(frozen=True)
class RankerConfig(ModelConfig):
    """Names of the input columns in order, and sizes.

    positions: rows of the position term; logged positions at or above positions - 1 share the last one.
    rate: the item counter that is a smoothed click rate, and rate_base what it is for an item without showings: its log
    ratio is added to every logit and to the towers' dot product, with a gain of 1 to begin with. A log without
    impressions cannot teach it, and the first live hours would pay for that. "" for none.
    relevance: the cross counter that says how well the item fits what was searched for; what it lacks of FITTING costs every
    logit, RELEVANCE_GAIN a unit to begin with, so that results are in order before any search has taught. "" reads no query.
    image_dim: width of the items' image vectors, which are joined to the text; 0 reads none.
    """

    user_counters: tuple[str, ...]
    item_counters: tuple[str, ...]
    cross: tuple[str, ...]
    tasks: tuple[str, ...]
    encoder_version: str
    text_dim: int
    dim: int = 32
    history: int = 50
    hidden: int = 64
    positions: int = 11
    dropout: float = 0.1
    rate: str = ""
    rate_base: float = 0.1
    relevance: str = ""
    image_dim: int = 0


@dataclass(frozen=True)
class _UserSide:
    numbers: Tensor  # (U, C_u) standardized
    history: EncodedHistory
    tower: Tensor  # (U, D + 2), the last two columns 1
    query: Tensor  # (U, D) what the user searched for, zeros for nothing


@dataclass(frozen=True)
class _ItemSide:
    rows: Tensor  # (U, C) in the numbering of the history
    text: Tensor  # (U, C, D)
    numbers: Tensor  # (U, C, C_i + 1) standardized counters and age
    tower: Tensor  # (U, C, D + 2), the last two columns its popularity and the log ratio of the rate
    cross: Tensor  # (U, C, X) raw


class Ranker(nn.Module):
    """Linear skip beside a two-layer bottom with one head a task; a dot product of two towers is one of its inputs.

    The towers read what items and histories are about. Counters enter the dot product by a bounded popularity and by the rate alone: a
    product of networks of counters goes anywhere at levels that no example had, and it decides which items are looked at.

    What is served is calibrated: logits * calibration_scale + calibration_shift, by task; learning goes on without it.
    """

    calibration_scale: Tensor
    calibration_shift: Tensor

    def __init__(self, config: RankerConfig) -> None:
        super().__init__()
        self.config = config
        users, items, cross, tasks = (
            len(names) for names in (config.user_counters, config.item_counters, config.cross, config.tasks)
        )
        dim, hidden = config.dim, config.hidden
        self.user_numbers = Standardizer(users, limit=_LIMIT)
        self.item_numbers = Standardizer(items + 1, limit=_LIMIT)
        self.cross_numbers = Standardizer(cross, limit=_LIMIT)
        self.text = UnitProjection(config.text_dim, dim)
        self.fusion = GatedFusion(config.image_dim, dim) if config.image_dim else None
        self.history = HistoryEncoder()
        self.user_tower = _tower(2 * dim, hidden, dim)
        self.item_tower = _tower(dim, hidden, dim)
        self.popularity = nn.Linear(items + 1, 1, bias=False)
        nn.init.zeros_(self.popularity.weight)
        self.tower_bias = nn.Parameter(torch.zeros(()))
        self.rate_gain = nn.Parameter(torch.ones(tasks))
        self._query_width = dim + 1 if config.relevance else 0  # they stand last among the F features
        width = users + (items + 1) + cross + 5 + 2 * dim + self._query_width  # F
        self.bottom = nn.Sequential(
            nn.Linear(width, hidden), nn.ReLU(), nn.Dropout(config.dropout),
            nn.Linear(hidden, hidden), nn.ReLU(), nn.Dropout(config.dropout),
        )  # fmt: skip
        self.heads = nn.Linear(hidden, tasks, bias=False)
        self.skip = nn.Linear(width, tasks)
        self.position_term = nn.Parameter(torch.zeros(config.positions - 1, tasks))
        if config.relevance:
            self.relevance_gain = nn.Parameter(torch.ones(tasks))
        self.register_buffer("calibration_scale", torch.ones(tasks))
        self.register_buffer("calibration_shift", torch.zeros(tasks))

    @torch.no_grad()
    def fit_statistics(self, batch: RankerBatch, items: ItemTable) -> None:
        """Fix means, scales, text center and base rates; once, at the bootstrap: later hours share one scale.

        A column that never varies in these examples starts with weight 0: a log without impressions says nothing of
        them, and random weights on what first moves in the live hours would drown all that was learned.
        """
        if len(batch) == 0:
            raise ValueError("fit_statistics needs examples, found 0; bootstrap the ranker on a window that has some")
        users = self.user_numbers.fit(batch.user.counters)
        pairs = self.item_numbers.fit(_with_age(batch.item_counters, batch.item_age_h))
        cross = self.cross_numbers.fit(batch.cross)
        self._silence(users, pairs, cross)
        if self._query_width and not batch.query.any():
            for weight in (self.bottom.get_parameter("0.weight"), self.skip.weight):
                weight[:, -self._query_width :] = 0
        self.text.fit(items.vectors)
        if self.fusion is not None:
            self.fusion.image.fit(items.images)
        base_rate = batch.labels.mean(0).clamp(1e-4, 1 - 1e-4)  # (T,)
        self.skip.bias.copy_(base_rate.logit())
        self.tower_bias.copy_(base_rate[0].logit())

    def _silence(self, users: Tensor, items: Tensor, cross: Tensor) -> None:
        """Weight 0 for the numbers of which nothing is known yet: True in the masks where a column varies."""
        numbers = torch.cat([users, items, cross])  # they stand first among the F features
        for weight in (self.bottom.get_parameter("0.weight"), self.skip.weight):
            weight[:, : len(numbers)] *= numbers

    def input_columns(self) -> dict[str, list[str]]:
        """For each weight that reads features its columns' names in order: by them rankers of other counters share what both have."""
        config = self.config
        users, pairs = ([f"{side} {name}" for name in names] for side, names in (("user", config.user_counters), ("pair", config.cross)))
        items = [*(f"item {name}" for name in config.item_counters), "item age_h"]
        mean, recent, text, pool, query = (
            [f"{kind} {number}" for number in range(config.dim)] for kind in ("mean", "recent", "text", "pool", "query")
        )
        similarity = ["to the mean", "to the recent mean", "to the nearest", "to the pool", "of the towers"]
        features = [*users, *items, *pairs, *similarity, *text, *pool, *([*query, "searched"] if self._query_width else [])]  # F
        towers = {"user_tower.0.weight": [*mean, *recent], "item_tower.0.weight": text, "popularity.weight": items}
        return {"bottom.0.weight": features, "skip.weight": features, **towers}

    def forward(self, batch: RankerBatch, items: ItemTable) -> Tensor:
        """Calibrated logits (B, T) at the logged positions."""
        return self._calibrated(self.logits_and_tower(batch, items)[0])

    def _calibrated(self, logits: Tensor) -> Tensor:
        return logits * self.calibration_scale + self.calibration_shift

    @torch.no_grad()
    def fit_calibration(self, batch: RankerBatch, items: ItemTable) -> None:
        """Scale and shift of each task's logit by maximum likelihood on these rows (Platt 1999); corrections are left out.

        A task with fewer than LEAST_LABELS positives, or negatives, keeps what it has: of one kind alone the maximum lies at infinity.
        """
        batch = batch.rows(batch.weight > 0)
        batch = batch.rows(slice(None, None, max(1, len(batch) // _CALIBRATION_ROWS)))
        logits = torch.cat([self.logits_and_tower(batch.rows(part), items)[0] for part in _slices(len(batch))]).double()
        for task in range(logits.shape[1]):
            labels = batch.labels[:, task].numpy()
            if min(labels.sum(), (1 - labels).sum()) < LEAST_LABELS:
                continue
            shift, scale = logistic_fit(logits[:, task].numpy(), labels)
            self.calibration_scale[task], self.calibration_shift[task] = max(scale, LEAST_SCALE), shift

    def logits_and_tower(self, batch: RankerBatch, items: ItemTable) -> tuple[Tensor, Tensor]:
        """Uncalibrated logits (B, T), and the first task's logit (B,) by the towers' dot product alone, for its auxiliary loss."""
        used, (item, history, query) = _used_rows(items, batch.item, batch.user.history, batch.query)
        text = self.content(used)  # (M, D)
        user = self._user_side(batch.user, history, text, query)
        numbers = self.item_numbers(_with_age(batch.item_counters, batch.item_age_h))  # (B, C_i + 1)
        candidate = text[item]  # (B, D)
        tower = self._item_tower(candidate, numbers, batch.item_counters)
        sides = (item, candidate, numbers, tower, batch.cross)
        logits, dot = self._pair_logits(user, _ItemSide(*(side.unsqueeze(1) for side in sides)))
        term = self._position_logits(batch.position)  # (B, T)
        return logits.squeeze(1) + term, dot.squeeze(1) + self.tower_bias + term[:, 0].detach()

    @torch.no_grad()
    def score(
        self, user: UserState, candidates: Tensor, items: ItemTable, item_state: ItemState, cross: Tensor, query: Tensor | None = None
    ) -> Tensor:
        """Calibrated logits (U, C, T) at the reference position 0; the module should be in eval mode.

        candidates: (U, C) int64 item rows; cross: (U, C, X); query: (U,) rows of what was searched for. Equals `forward` with position 0.
        """
        text = self.content(items)  # (N+1+Q, D)
        query = candidates.new_zeros(len(candidates)) if query is None else query
        numbers, tower = self._item_side(text, item_state)
        step = max(1, _PAIRS_AT_ONCE // max(1, candidates.shape[1]))
        logits = candidates.new_empty((*candidates.shape, len(self.config.tasks)), dtype=text.dtype)
        for start in range(0, len(candidates), step):
            part = slice(start, start + step)
            some, rows = user.rows(part), candidates[part]
            item_side = _ItemSide(rows, text[rows], numbers[rows], tower[rows], cross[part])
            logits[part] = self._pair_logits(self._user_side(some, some.history, text, query[part]), item_side)[0]
        return self._calibrated(logits)

    @torch.no_grad()
    def user_vectors(self, user: UserState, items: ItemTable) -> Tensor:
        """(U, D + 2). Its dot product with `item_vectors` orders the items for retrieval."""
        used, (history,) = _used_rows(items, user.history)
        return self._user_side(user, history, self.content(used), history.new_zeros(len(history))).tower

    @torch.no_grad()
    def item_vectors(self, items: ItemTable, item_state: ItemState) -> Tensor:
        """(N+1, D + 2); row 0 is no item and must not be retrieved."""
        return self._item_side(self.content(items), item_state)[1]

    def content(self, items: ItemTable) -> Tensor:
        """(M, D) unit vectors of these rows. A table whose images are of another width than the ranker reads counts as one without."""
        found: Tensor = self.text(items.vectors)
        if self.fusion is not None and items.images.shape[1] == self.config.image_dim:
            found = self.fusion(found, items.images)
        return found

    def _item_side(self, text: Tensor, item_state: ItemState) -> tuple[Tensor, Tensor]:
        numbers = self.item_numbers(_with_age(item_state.counters, item_state.age_h))  # (N+1, C_i + 1)
        return numbers, self._item_tower(text[: len(numbers)], numbers, item_state.counters)

    def _item_tower(self, text: Tensor, numbers: Tensor, counters: Tensor) -> Tensor:
        """(..., D + 2) of items: the tower's output, popularity and the log ratio of the rate."""
        popularity = _POPULAR * torch.tanh(self.popularity(numbers) / _POPULAR)
        return torch.cat([self.item_tower(text), popularity, self._log_rate(counters).unsqueeze(-1)], -1)

    def _log_rate(self, counters: Tensor) -> Tensor:
        """(...) of raw counters (..., C_i)."""
        if not self.config.rate:
            return counters.new_zeros(counters.shape[:-1])
        rate = counters[..., self.config.item_counters.index(self.config.rate)]
        return (rate.clamp(min=1e-4) / self.config.rate_base).log()

    def _user_side(self, user: UserState, history_rows: Tensor, text: Tensor, query: Tensor) -> _UserSide:
        numbers = self.user_numbers(user.counters)
        history = self.history(user, history_rows, text)
        tower = self.user_tower(torch.cat([history.mean, history.recent], -1))
        ones = tower.new_ones(*tower.shape[:-1], 2)
        return _UserSide(numbers, history, torch.cat([tower / self.config.dim**0.5, ones], -1), text[query])

    def _pair_logits(self, user: _UserSide, item: _ItemSide) -> tuple[Tensor, Tensor]:
        """Logits (U, C, T) without the position term, and the towers' dot product (U, C)."""
        similarity, pool = self.history.compare(user.history, item.text, item.rows)
        dot = torch.bmm(item.tower, user.tower.unsqueeze(-1))  # (U, C, 1)
        match = dot - item.tower[..., -2:].sum(-1, keepdim=True)  # without what the logits get by themselves
        numbers = user.numbers.unsqueeze(1).expand(-1, item.rows.shape[1], -1)  # (U, C, C_u)
        cross = self.cross_numbers(item.cross)
        parts = [numbers, item.numbers, cross, similarity, match, item.text, pool * item.text]
        if self._query_width:
            query = user.query.unsqueeze(1)  # (U, 1, D)
            searched = query.any(-1, keepdim=True).to(query.dtype).expand(-1, item.rows.shape[1], -1)  # (U, C, 1)
            parts += [query * item.text, searched]
        features = torch.cat(parts, -1)
        logits = self.heads(self.bottom(features)) + self.skip(features)  # (U, C, F) -> (U, C, T)
        logits = logits + self.rate_gain * item.tower[..., -1:]
        if self._query_width:
            fit = item.cross[..., self.config.cross.index(self.config.relevance), None] - FITTING
            logits = logits + RELEVANCE_GAIN * self.relevance_gain * fit * searched
        return logits, dot.squeeze(-1)

    def _position_logits(self, position: Tensor) -> Tensor:
        """(B,) to (B, T): zero at position 0, the reference that serving scores at."""
        table = torch.cat([self.position_term.new_zeros(1, len(self.config.tasks)), self.position_term])
        return table[position.clamp(0, self.config.positions - 1)]


def _slices(rows: int) -> list[slice]:
    return [slice(start, start + _ROWS_AT_ONCE) for start in range(0, rows, _ROWS_AT_ONCE)]


def _tower(width: int, hidden: int, dim: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, dim))


def _with_age(counters: Tensor, age_h: Tensor) -> Tensor:
    return torch.cat([counters, age_h.unsqueeze(-1)], dim=-1)


def _used_rows(items: ItemTable, *rows: Tensor) -> tuple[ItemTable, list[Tensor]]:
    """The items that `rows` name, row 0 first, and `rows` renumbered: a step projects no item that it lacks."""
    used = torch.zeros(len(items), dtype=torch.bool, device=items.vectors.device)
    used[0] = True
    for some in rows:
        used[some.flatten()] = True
    number = used.cumsum(0) - 1  # (N+1,)
    return items.rows(used), [number[some] for some in rows]
