"""What an adapted encoder learns from, and the rankers that are fitted on its vectors."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

import torch

from models.adapted_encoder import AdaptedEncoder
from models.adapters import AdapterSettings, Kind
from models.click_adaptation import ClickSettings, ItemTexts, adapt_by_clicks, click_head, text_only
from models.encoder import Encoder
from models.language_adaptation import LanguageSettings, adapt_by_language
from models.ranker import RankerConfig
from models.records import ItemTable, RankerBatch
from models.training import TrainState
from pipelines.errors import UserError
from pipelines.settings import Settings
from pipelines.steps.example_batches import ExampleReader, joined
from pipelines.steps.ranker_learning import learn
from spark_jobs.embeddings import EncoderSpec

Method = Literal["lora", "adalora", "bottleneck", "mlm"]
METHODS: tuple[str, ...] = get_args(Method)
OnMetrics = Callable[[int, dict[str, float]], None]


@dataclass(frozen=True)
class Teaching:
    """Rows of users outside the gate fold, oldest hour first, and the text of each item row from 1 on."""

    batch: RankerBatch
    texts: Sequence[str]
    config: RankerConfig


def teaching(reader: ExampleReader, hours: Sequence[str], texts: Sequence[str], config: RankerConfig) -> Teaching:
    """The newest ``adapter.rows`` examples of these hours. Raises UserError where there are none."""
    left, parts = reader.settings.adapter.rows, list[RankerBatch]()
    generator = torch.Generator().manual_seed(reader.settings.seed)
    for hour in reversed(hours):
        batch = reader.fresh(hour, gate=False).batch
        if len(batch) > left:
            batch = batch.rows(torch.randperm(len(batch), generator=generator)[:left].sort().values)
        parts, left = [batch, *parts], left - len(batch)
        if not left:
            break
    if not sum(map(len, parts)):
        raise UserError(f"no training examples before {hours[-1] if hours else 'the judged hours'}; run more hours first")
    return Teaching(joined(parts), texts, config)


def adapt(
    settings: Settings, spec: EncoderSpec, method: Method, taught: Teaching, frozen: ItemTable, target: Path, on_metrics: OnMetrics
) -> None:
    """Writes the adapted encoder into ``target``. Raises UserError for an architecture that the method does not know."""
    adapter = settings.adapter
    kind: Kind = "lora" if method == "mlm" else method
    own = AdapterSettings(kind, adapter.rank, adapter.alpha, adapter.width)
    language = LanguageSettings(epochs=adapter.epochs, lr=adapter.lr, seed=settings.seed)
    clicks = ClickSettings(
        epochs=adapter.epochs, lr=adapter.lr, ranker_lr=settings.ranker.bootstrap_lr, head_epochs=settings.ranker.bootstrap_epochs,
        batch_size=adapter.batch_size, history=adapter.history, seed=settings.seed,
    )  # fmt: skip
    _quiet()
    steps = language.steps(len(set(taught.texts))) if method == "mlm" else clicks.steps(len(taught.batch))
    try:
        encoder = AdaptedEncoder.read(spec.path, spec.pooling, spec.max_tokens, own, steps, settings.seed)
        if method == "mlm":
            adapt_by_language(encoder, spec.path, taught.texts, language, on_metrics)
        else:
            rows = text_only(taught.batch, adapter.history)
            head = click_head(taught.config, rows, frozen, clicks)
            adapt_by_clicks(encoder, head, rows, ItemTexts.of(taught.texts), clicks, on_metrics)
    except (ValueError, FileNotFoundError) as error:
        raise UserError(f"encoder {spec.path} cannot be adapted by {method}: {error}") from error
    encoder.save(target)


def _quiet() -> None:
    """Which heads a checkpoint lacks is no news here: a word head begins anew where there is none."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


def with_vectors(reader: ExampleReader, spec: EncoderSpec, texts: Sequence[str]) -> ExampleReader:
    """The reader with the catalogue's texts as this encoder reads them, in memory; the hours' tables get them when it is chosen."""
    vectors = Encoder.load(spec.path, spec.pooling, spec.max_tokens).encode([*texts, *reader.catalogue.queries.to_pylist()])
    table = replace(reader.catalogue.table, vectors=ItemTable.from_numpy(vectors).vectors)
    return replace(reader, catalogue=replace(reader.catalogue, table=table))


def fitted(reader: ExampleReader, hours: Sequence[str], encoder_version: str) -> TrainState:
    """A ranker by the loop's recipe: the first hour that has examples as a bootstrap, then one pass over the later ones."""
    for number, hour in enumerate(hours):
        first = learn(reader, [hour], None, encoder_version)
        if first is not None:
            rest = learn(reader, hours[number + 1 :], first.state, encoder_version)
            return rest.state if rest else first.state
    raise UserError("no training examples to fit a ranker on; run more hours first")
