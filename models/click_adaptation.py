"""The click loss of an adapted encoder: a ranker that knows nothing of an item but its text, on vectors that learn with it.

Letters: B rows, N items, M distinct texts of a mini-batch, D text width.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from models.adapted_encoder import AdaptedEncoder
from models.devices import repeatable
from models.ranker import Ranker, RankerConfig
from models.records import ItemTable, RankerBatch
from models.training import FinetuneSettings, TrainState, finetune, mini_batches, ranker_loss


@dataclass(frozen=True)
class ClickSettings:
    """ranker_lr: of the ranker above; head_epochs: its passes on frozen vectors before the encoder moves; history: newest items of
    a user that are encoded; texts_at_once: held in memory with their gradients."""

    epochs: int = 2
    lr: float = 1e-4
    ranker_lr: float = 1e-3
    head_epochs: int = 2
    batch_size: int = 512
    history: int = 20
    texts_at_once: int = 128
    clip: float = 1.0
    weight_decay: float = 1e-2
    tower_weight: float = 0.2
    seed: int = 7

    def steps(self, rows: int) -> int:
        """Updates of the encoder."""
        return self.epochs * -(-rows // self.batch_size)


@dataclass(frozen=True)
class ItemTexts:
    """The text of each item row, as numbers of distinct texts: row 0, no item, has none (-1)."""

    distinct: tuple[str, ...]
    code: Tensor  # (N+1,)

    @classmethod
    def of(cls, texts: Sequence[str]) -> "ItemTexts":
        """texts: of items 1 to N, in order."""
        distinct = tuple(dict.fromkeys(texts))
        number = {text: place for place, text in enumerate(distinct)}
        return cls(distinct, torch.tensor([-1, *(number[text] for text in texts)]))


def text_only(batch: RankerBatch, history: int) -> RankerBatch:
    """The rows as if nobody had met their items or searched: no counters of the item, nothing of user and item together."""
    none = batch.item_counters.new_zeros(len(batch), 0)
    user = batch.user
    newest = {name: getattr(user, name)[:, -history:] for name in ("history", "history_age_h", "history_weight")}
    return replace(batch, item_counters=none, cross=none, user=replace(user, **newest), query=torch.zeros_like(batch.item))


def click_head(config: RankerConfig, batch: RankerBatch, frozen: ItemTable, settings: ClickSettings) -> Ranker:
    """A ranker for rows of `text_only`, fitted on the frozen vectors: so that the encoder's first gradients mean something."""
    config = replace(config, item_counters=(), cross=(), rate="", relevance="", history=settings.history)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        head = Ranker(config)
    head.fit_statistics(batch, frozen)
    learning = _ranker_settings(settings, settings.head_epochs)
    return finetune(TrainState.create(head, learning), batch, frozen, learning).ranker


def adapt_by_clicks(
    encoder: AdaptedEncoder, head: Ranker, batch: RankerBatch, texts: ItemTexts, settings: ClickSettings,
    on_metrics: Callable[[int, dict[str, float]], None] | None = None,
) -> None:
    """Encoder and head learn together, in place. The same seed gives the same weights. FloatingPointError on a non-finite loss."""
    parameters = encoder.adapter.parameters()
    optimizer = torch.optim.AdamW(
        [{"params": parameters, "lr": settings.lr}, {"params": list(head.parameters()), "lr": settings.ranker_lr}],
        weight_decay=settings.weight_decay,
    )
    device, step = parameters[0].device, 0
    head.to(device).train()
    with repeatable(device):
        generator = torch.Generator().manual_seed(settings.seed)
        for rows, seed in mini_batches(len(batch), _ranker_settings(settings, settings.epochs), generator):
            torch.manual_seed(seed)
            optimizer.zero_grad(set_to_none=True)
            loss = backward(encoder, head, batch.rows(rows).to(device), texts, settings)
            norm = torch.nn.utils.clip_grad_norm_([*parameters, *head.parameters()], settings.clip)
            if not (torch.isfinite(loss) and torch.isfinite(norm)):
                raise FloatingPointError(f"click loss is {loss.item()}, its gradient {norm.item()} at step {step}, expected finite numbers")
            optimizer.step()
            step += 1
            encoder.adapter.after_backward(step)
            if on_metrics is not None:
                on_metrics(step, {"loss": loss.item(), "gradient_norm": norm.item()})
    head.cpu().eval()


def backward(encoder: AdaptedEncoder, head: Ranker, batch: RankerBatch, texts: ItemTexts, settings: ClickSettings) -> Tensor:
    """Gradients of the mean loss of the rows; its value. Each distinct text is encoded once for all rows that name it.

    Of many texts, the gradient by their vectors is taken first, and the texts are encoded again part by part to carry it on (Gao et
    al. 2021): the same gradient in bounded memory.
    """
    batch, code = compacted(batch, texts)
    distinct, row = torch.unique(code, return_inverse=True)
    names = [texts.distinct[number] for number in distinct.tolist()[1:]]  # the first is -1, no text: row 0 is always used
    parts = [names[start : start + settings.texts_at_once] for start in range(0, len(names), settings.texts_at_once)]
    direct = len(parts) <= 1
    with torch.set_grad_enabled(direct):
        none = torch.zeros(0, head.config.text_dim, device=batch.weight.device)
        vectors = torch.cat([none, *(encoder.vectors(part) for part in parts)])
    leaf = vectors if direct else vectors.requires_grad_()
    table = ItemTable.of_texts(torch.cat([leaf.new_zeros(1, leaf.shape[1]), leaf])[row.to(leaf.device)])
    loss = ranker_loss(head, batch, table, settings.tower_weight)
    (loss + encoder.adapter.penalty().to(loss.device)).backward()  # type: ignore[no-untyped-call]
    if not direct and leaf.grad is not None:
        for part, gradient in zip(parts, torch.split(leaf.grad, settings.texts_at_once), strict=True):
            torch.autograd.backward(encoder.vectors(part), gradient)
    return loss.detach()


def compacted(batch: RankerBatch, texts: ItemTexts) -> tuple[RankerBatch, Tensor]:
    """The batch with its item rows renumbered from 0 without gaps, and the text number of each of these rows; row 0 stays no item."""
    device = batch.item.device
    used = torch.cat([batch.item.new_zeros(1), batch.item, batch.user.history.flatten()])
    used = torch.unique(used)
    user = replace(batch.user, history=torch.searchsorted(used, batch.user.history.contiguous()))
    return replace(batch, item=torch.searchsorted(used, batch.item), user=user), texts.code.to(device)[used].cpu()


def _ranker_settings(settings: ClickSettings, epochs: int) -> FinetuneSettings:
    return FinetuneSettings(
        lr=settings.ranker_lr, batch_size=settings.batch_size, epochs=epochs, clip=settings.clip,
        weight_decay=settings.weight_decay, seed=settings.seed, tower_weight=settings.tower_weight,
    )  # fmt: skip
