"""The ranker as MLflow serves it: one row a user and item, one column of probabilities a task. Logged as code, not pickled."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel
from numpy.typing import NDArray
from torch import Tensor

from models.artifacts import load_ranker
from models.ranker import RankerConfig
from models.records import ItemTable, RankerBatch, UserState

Content = tuple[bytes, bytes]  # the numbers of a text and of an image, the latter zeros for none


class RankerModel(PythonModel):
    """Columns are in the order that the model's metadata names; an item is known by its vector.

    ``position`` is optional and 0 by default: the reference position at which users are scored. ``query_vector`` is optional: the
    encoder's vector of what was searched for. ``item_image`` and ``history_images`` are optional inputs of a ranker that reads images;
    [] stands for an item without one.
    """

    def load_context(self, context: Any) -> None:
        self.ranker = load_ranker(Path(context.artifacts["ranker"]))

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        tasks = list(self.ranker.config.tasks)
        if model_input.empty:
            return pd.DataFrame(columns=tasks, dtype="float64")
        batch, items = as_batch(model_input, self.ranker.config)
        with torch.inference_mode():
            probability = self.ranker(batch, items).sigmoid().double().numpy()  # (B, T)
        return pd.DataFrame(probability, columns=tasks)


def as_batch(rows: pd.DataFrame, config: RankerConfig) -> tuple[RankerBatch, ItemTable]:
    """Rows as the ranker's batch, and the distinct text vectors that they name; how well an item fits a query is computed here."""
    asked = rows["query_vector"].to_numpy() if "query_vector" in rows else np.full(len(rows), None)
    table, item, history, query = _text_rows(_contents(rows, config.image_dim), asked)
    width = history.shape[1]
    user = UserState(
        counters=_matrix(rows["user_counters"]),
        history=history,
        history_age_h=_right_aligned(rows["history_age_h"], width),
        history_weight=_right_aligned(rows["history_weight"], width),
    )
    cross = _matrix(rows["cross"])
    if config.relevance:
        match = F.cosine_similarity(table.vectors[query], table.vectors[item], dim=-1)
        cross[:, config.cross.index(config.relevance)] = match * (query > 0)
    position = rows["position"].fillna(0).to_numpy() if "position" in rows else np.zeros(len(rows))
    batch = RankerBatch(
        user=user,
        item=item,
        item_counters=_matrix(rows["item_counters"]),
        item_age_h=torch.from_numpy(rows["item_age_h"].to_numpy(dtype=np.float32)),
        cross=cross,
        position=torch.from_numpy(position.astype(np.int64)),
        labels=torch.zeros(len(rows), len(config.tasks)),
        weight=torch.ones(len(rows)),
        query=query,
    )
    return batch, table


def _contents(rows: pd.DataFrame, image_dim: int) -> tuple[list[Content], list[list[Content]]]:
    """What is known of each candidate, and of each item of its user's history."""
    texts, histories = list(rows["item_vector"]), list(rows["history_vectors"])
    images = rows["item_image"] if "item_image" in rows and image_dim else [None] * len(rows)
    past = rows["history_images"] if "history_images" in rows and image_dim else [None] * len(rows)
    candidates = [_content(text, image, image_dim) for text, image in zip(texts, images, strict=True)]
    met = []
    for number, (history, own) in enumerate(zip(histories, past, strict=True)):
        own = [None] * len(history) if own is None else own
        if len(own) != len(history):
            counts = f"{len(history)} history_vectors and {len(own)} history_images"
            raise ValueError(f"row {number} has {counts}, expected as many; give [] for an item without an image")
        met.append([_content(text, image, image_dim) for text, image in zip(history, own, strict=True)])
    return candidates, met


def _content(text: Sequence[float], image: Sequence[float] | None, image_dim: int) -> Content:
    found = np.zeros(image_dim, dtype=np.float32)
    if image is not None and len(image):
        if len(image) != image_dim:
            raise ValueError(f"an image vector of {len(image)} numbers, expected {image_dim}")
        found[:] = image
    return np.asarray(text, dtype=np.float32).tobytes(), found.tobytes()


def _text_rows(
    contents: tuple[list[Content], list[list[Content]]], queries: NDArray[np.object_]
) -> tuple[ItemTable, Tensor, Tensor, Tensor]:
    """The table of all distinct contents, the row of each candidate (B,), each history (B, H), newest last, and each query (B,)."""
    candidates, histories = contents
    none = bytes(len(candidates[0][1]))
    asked = np.array([isinstance(query, list | np.ndarray) for query in queries])
    wanted = [(np.asarray(query, dtype=np.float32).tobytes(), none) for query in queries[asked]]
    past = [content for history in histories for content in history]
    number: dict[Content, int] = {}
    row = np.array([number.setdefault(content, len(number) + 1) for content in [*candidates, *past, *wanted]])
    texts, images = (np.stack([np.frombuffer(part, dtype=np.float32) for part in parts]) for parts in zip(*number, strict=True))
    lengths = [len(history) for history in histories]
    history = np.zeros((len(lengths), max([1, *lengths])), dtype=np.int64)
    for place, part in enumerate(np.split(row[len(candidates) : len(candidates) + len(past)], np.cumsum(lengths)[:-1])):
        history[place, history.shape[1] - len(part) :] = part
    query = np.zeros(len(candidates), dtype=np.int64)
    query[asked] = row[len(candidates) + len(past) :]
    return ItemTable.from_numpy(texts, images), torch.from_numpy(row[: len(candidates)]), torch.from_numpy(history), torch.from_numpy(query)


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
