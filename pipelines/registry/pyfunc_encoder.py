"""The text encoder as MLflow serves it: a text a row, its unit vector back. Logged as code."""

from typing import Any

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel

from models.encoder import Encoder


class EncoderModel(PythonModel):
    """Pooling and length limit are those of the version, so that a vector means what the tables mean by it."""

    def load_context(self, context: Any) -> None:
        config = context.model_config
        self.encoder = Encoder.load(context.artifacts["encoder"], config["pooling"], config["max_tokens"])

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        vectors = self.encoder.encode(list(model_input["text"]))
        return pd.DataFrame({"vector": list(vectors.astype("float64").tolist())})


set_model(EncoderModel())
