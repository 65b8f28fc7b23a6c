"""Learning in small steps: one pass over an hour's examples from where the last hour stopped.

State on disk is safetensors and JSON only, so that k updates, save, load and n - k updates equal n updates to the bit.
"""

import copy
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from models.artifacts import CONFIG, WEIGHTS, write_folder
from models.devices import learning_device, repeatable
from models.parallel import ALONE, Group
from models.ranker import Ranker, RankerConfig
from models.records import ItemTable, RankerBatch

_PROGRESS = "progress.json"
_OPTIMIZER = "optimizer.safetensors"
_EMA = "ema.safetensors"


@dataclass(frozen=True)
class FinetuneSettings:
    """tower_weight: of the auxiliary loss of the retrieval towers on the first task; ema: decay a step, once warm."""

    lr: float = 3e-4
    batch_size: int = 512
    epochs: int = 1
    clip: float = 1.0
    weight_decay: float = 1e-2
    ema: float = 0.99
    seed: int = 7
    tower_weight: float = 0.2


@dataclass
class TrainState:
    """All that the next update depends on, on the CPU; `served` is the averaged ranker that scores users."""

    ranker: Ranker
    optimizer: torch.optim.AdamW
    ema_weights: dict[str, Tensor]
    step: int
    generator: torch.Generator

    @classmethod
    def create(cls, ranker: Ranker, settings: FinetuneSettings) -> "TrainState":
        """A fresh optimizer around a copy of the ranker."""
        ranker = copy.deepcopy(ranker)
        ema = {name: weight.detach().clone() for name, weight in ranker.named_parameters()}
        generator = torch.Generator().manual_seed(settings.seed)
        return cls(ranker, _optimizer(ranker, settings), ema, 0, generator)

    def served(self) -> Ranker:
        """A copy of the ranker with the averaged weights, in eval mode."""
        ranker = copy.deepcopy(self.ranker)
        ranker.load_state_dict(self.ema_weights, strict=False)
        return ranker.eval()

    def copy(self, settings: FinetuneSettings, device: torch.device | str = "cpu") -> "TrainState":
        """The same state in its own memory, its optimizer with the learning rate and decay of the settings."""
        ranker = copy.deepcopy(self.ranker).to(device)
        optimizer = _optimizer(ranker, settings)
        _restore_moments(optimizer, ranker, _moments(self.optimizer, self.ranker))
        ema = {name: weight.to(device, copy=True) for name, weight in self.ema_weights.items()}
        return TrainState(ranker, optimizer, ema, self.step, self.generator.clone_state())

    def save(self, folder: Path | str) -> None:
        optimizer = {**_moments(self.optimizer, self.ranker), "generator": self.generator.get_state()}
        texts = {CONFIG: self.ranker.config.to_json(), _PROGRESS: json.dumps({"step": self.step})}
        write_folder(folder, texts, {WEIGHTS: self.ranker.state_dict(), _EMA: self.ema_weights, _OPTIMIZER: optimizer})

    @classmethod
    def load(cls, folder: Path | str, settings: FinetuneSettings) -> "TrainState":
        folder = Path(folder)
        ranker = Ranker(RankerConfig.from_json((folder / CONFIG).read_text()))
        ranker.load_state_dict(load_file(folder / WEIGHTS))
        state = cls.create(ranker, settings)
        moments = load_file(folder / _OPTIMIZER)
        state.generator.set_state(moments.pop("generator"))
        _restore_moments(state.optimizer, state.ranker, moments)
        state.ema_weights = load_file(folder / _EMA)
        state.step = int(json.loads((folder / _PROGRESS).read_text())["step"])
        return state


def finetune(
    state: TrainState,
    batch: RankerBatch,
    items: ItemTable,
    settings: FinetuneSettings,
    on_metrics: Callable[[int, dict[str, float]], None] | None = None,
    group: Group = ALONE,
    rows: int | None = None,
    device: torch.device | None = None,
) -> TrainState:
    """The state after `epochs` passes over the examples; the given state is left as it is.

    Dropout and order come from the state's generator, never from the global one. FloatingPointError on a non-finite
    loss. In a `group`, `batch` is this process's part of `rows` examples, and every process ends with the same state.
    device: where it learns, by default the GPU if there is one; the state that comes back is on the CPU.
    """
    device = device or learning_device()
    state, batch, items = state.copy(settings, device), batch.to(device), items.to(device)
    state.ranker.train()
    with repeatable(device):
        for index, seed in mini_batches(len(batch) if rows is None else rows, settings, state.generator):
            torch.manual_seed(seed + group.rank)
            own = group.own(index).to(device)
            metrics = train_step(state, batch.rows(own), items, settings, group, len(index))
            if on_metrics is not None:
                on_metrics(state.step, metrics)
    state.ranker.eval()
    return state if device.type == "cpu" else state.copy(settings)


def train_step(
    state: TrainState, batch: RankerBatch, items: ItemTable, settings: FinetuneSettings, group: Group = ALONE, rows: int | None = None
) -> dict[str, float]:
    """One update of the state in place; its loss and gradient norm. `rows`: of the mini-batch of which the group holds a part each."""
    state.optimizer.zero_grad(set_to_none=True)
    loss = _gradients(state.ranker, batch, items, settings, group, rows or len(batch))
    if not torch.isfinite(loss):
        raise FloatingPointError(
            f"ranker loss is {loss.item()} at step {state.step}, expected a finite number; "
            "look for non-finite counters, ages, labels or weights in this hour's examples"
        )
    norm = torch.nn.utils.clip_grad_norm_(state.ranker.parameters(), settings.clip)
    if not torch.isfinite(norm):  # of a finite loss, as where a root of 0 is taken: the update would make weights nan
        raise FloatingPointError(f"the gradient of the ranker is {norm.item()} at step {state.step}, expected a finite number")
    state.optimizer.step()
    state.step += 1
    _average(state, settings.ema)
    return {"loss": loss.item(), "gradient_norm": norm.item()}


def _gradients(ranker: Ranker, batch: RankerBatch, items: ItemTable, settings: FinetuneSettings, group: Group, rows: int) -> Tensor:
    """The loss of the whole mini-batch; its gradients are left at the weights. A process that holds no row of it adds zeros."""
    if len(batch):
        part = ranker_loss(ranker, batch, items, settings.tower_weight) * (len(batch) / rows)
        part.backward()  # type: ignore[no-untyped-call]
    loss = part.detach() if len(batch) else torch.zeros((), device=items.vectors.device)
    if group.size > 1:
        for weight in ranker.parameters():
            weight.grad = torch.zeros_like(weight) if weight.grad is None else weight.grad
        group.add([loss, *(weight.grad for weight in ranker.parameters() if weight.grad is not None)])
    return loss


def ranker_loss(ranker: Ranker, batch: RankerBatch, items: ItemTable, tower_weight: float) -> Tensor:
    """Weighted binary cross-entropy on soft labels, mean over rows and tasks, plus that of the towers' dot product.

    Weights may be negative (the correction of a late label), so the mean is over rows, not over weight.
    """
    logits, tower = ranker.logits_and_tower(batch, items)  # (B, T), (B,)
    loss = F.binary_cross_entropy_with_logits(logits, batch.labels, reduction="none").mean(-1)
    loss = loss + tower_weight * F.binary_cross_entropy_with_logits(tower, batch.labels[:, 0], reduction="none")
    return (batch.weight * loss).mean()


def mini_batches(rows: int, settings: FinetuneSettings, generator: torch.Generator) -> Iterator[tuple[Tensor, int]]:
    """Row numbers of each mini-batch, shuffled anew each epoch, and a seed for its dropout."""
    for _ in range(settings.epochs if rows else 0):
        order = torch.randperm(rows, generator=generator)
        for index in torch.split(order, settings.batch_size):
            yield index, int(torch.randint(2**62, (1,), generator=generator))


@torch.no_grad()
def _average(state: TrainState, decay: float) -> None:
    """EMA with a warm-up: the first averages follow the weights closely instead of the starting point."""
    decay = min(decay, (1 + state.step) / (10 + state.step))
    weights = dict(state.ranker.named_parameters())
    torch._foreach_lerp_(list(state.ema_weights.values()), [weights[name] for name in state.ema_weights], 1 - decay)


def _optimizer(ranker: Ranker, settings: FinetuneSettings) -> torch.optim.AdamW:
    return torch.optim.AdamW(ranker.parameters(), lr=settings.lr, weight_decay=settings.weight_decay, fused=True)


def _moments(optimizer: torch.optim.AdamW, ranker: Ranker) -> dict[str, Tensor]:
    """The optimizer's tensors as `<key>.<parameter>`, for example `exp_avg.heads.weight`."""
    return {
        f"{key}.{name}": tensor.clone()
        for name, parameter in ranker.named_parameters()
        for key, tensor in optimizer.state.get(parameter, {}).items()
    }


def _restore_moments(optimizer: torch.optim.AdamW, ranker: Ranker, moments: dict[str, Tensor]) -> None:
    parameters = dict(ranker.named_parameters())
    for full_name, tensor in moments.items():
        key, name = full_name.split(".", 1)
        optimizer.state[parameters[name]][key] = tensor.to(parameters[name].device)
