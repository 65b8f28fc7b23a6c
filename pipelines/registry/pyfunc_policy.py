"""The slate policy as MLflow serves it: one row a slate, logits and first-position propensities of its candidates. Logged as code."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel

from models.artifacts import load_policy


class PolicyModel(PythonModel):
    """``candidates`` holds a list of features for each candidate, the utility first; slates may differ in length."""

    def load_context(self, context: Any) -> None:
        self.policy = load_policy(Path(context.artifacts["policy"]))

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        if model_input.empty:
            return pd.DataFrame(columns=["logits", "propensity"], dtype=object)
        counts = [len(slate) for slate in model_input["candidates"]]
        candidates = torch.zeros(len(counts), max([1, *counts]), self.policy.config.candidate_dim)  # (S, C, P)
        mask = torch.arange(candidates.shape[1]) < torch.tensor(counts).unsqueeze(1)  # (S, C)
        candidates[mask] = _floats([features for slate in model_input["candidates"] for features in slate], candidates.shape[2])
        user = _floats(list(model_input["user_vector"]), self.policy.config.user_dim)
        with torch.inference_mode():
            logits = self.policy(user, candidates, mask).double()  # (S, C)
        columns = {"logits": logits, "propensity": logits.softmax(dim=1)}
        return pd.DataFrame({name: _unpadded(values, counts) for name, values in columns.items()})


def _floats(rows: list[Any], width: int) -> torch.Tensor:
    stacked = [np.asarray(row, dtype=np.float32) for row in rows]
    return torch.from_numpy(np.stack(stacked)) if stacked else torch.zeros(0, width)


def _unpadded(values: torch.Tensor, counts: list[int]) -> list[list[float]]:
    return [row[:count].tolist() for row, count in zip(values, counts, strict=True)]


set_model(PolicyModel())
