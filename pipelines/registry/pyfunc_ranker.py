"""The ranker as MLflow serves it: one row a user and item, one column of probabilities a task. Logged as code, not pickled."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel
from torch import Tensor

from models.artifacts import load_ranker
from models.records import ItemTable, RankerBatch, UserState


class RankerModel(PythonModel):
    """Columns are in the order that the model's metadata names; an item is known by its vector.

    ``position`` is optional and 0 by default: the reference position at which users are scored.
    """

    def load_context(self, context: Any) -> None:
        self.ranker = load_ranker(Path(context.artifacts["ranker"]))

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        tasks = list(self.ranker.config.tasks)
        if model_input.empty:
            return pd.DataFrame(columns=tasks, dtype="float64")
        batch, items = as_batch(model_input, len(tasks))
        with torch.inference_mode():
            probability = self.ranker(batch, items).sigmoid().double().numpy()  # (B, T)
        return pd.DataFrame(probability, columns=tasks)


def as_batch(rows: pd.DataFrame, tasks: int) -> tuple[RankerBatch, ItemTable]:
    """Rows as the ranker's batch, and the distinct item vectors that they name."""
    table, item, history = _item_rows(rows["item_vector"], rows["history_vectors"])
    width = history.shape[1]
    user = UserState(
        counters=_matrix(rows["user_counters"]),
        history=history,
        history_age_h=_right_aligned(rows["history_age_h"], width),
        history_weight=_right_aligned(rows["history_weight"], width),
    )
    position = rows["position"].fillna(0).to_numpy() if "position" in rows else np.zeros(len(rows))
    batch = RankerBatch(
        user=user,
        item=item,
        item_counters=_matrix(rows["item_counters"]),
        item_age_h=torch.from_numpy(rows["item_age_h"].to_numpy(dtype=np.float32)),
        cross=_matrix(rows["cross"]),
        position=torch.from_numpy(position.astype(np.int64)),
        labels=torch.zeros(len(rows), tasks),
        weight=torch.ones(len(rows)),
    )
    return batch, table


def _item_rows(candidates: pd.Series, histories: pd.Series) -> tuple[ItemTable, Tensor, Tensor]:
    """The item table of all distinct vectors, the row of each candidate (B,) and of each history (B, H), newest last."""
    lengths = [len(history) for history in histories]
    past = [vector for history in histories for vector in history]
    vectors = [np.asarray(vector, dtype=np.float32) for vector in [*candidates, *past]]
    number: dict[bytes, int] = {}
    row = np.array([number.setdefault(vector.tobytes(), len(number) + 1) for vector in vectors])
    distinct = np.stack([np.frombuffer(vector, dtype=np.float32) for vector in number])
    history = np.zeros((len(lengths), max([1, *lengths])), dtype=np.int64)
    for place, part in enumerate(np.split(row[len(candidates) :], np.cumsum(lengths)[:-1])):
        history[place, history.shape[1] - len(part) :] = part
    return ItemTable.from_numpy(distinct), torch.from_numpy(row[: len(candidates)]), torch.from_numpy(history)


def _right_aligned(lists: Sequence[Sequence[float]], width: int) -> Tensor:
    """(B, width), each list at the right end, zeros before it."""
    values = torch.zeros(len(lists), width)
    for number, part in enumerate(lists):
        if len(part):
            values[number, -len(part) :] = torch.as_tensor(np.asarray(part, dtype=np.float32))
    return values


def _matrix(lists: Sequence[Sequence[float]]) -> Tensor:
    return torch.from_numpy(np.stack([np.asarray(row, dtype=np.float32) for row in lists]))


set_model(RankerModel())
