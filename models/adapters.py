"""Adapters on a frozen encoder: LoRA and AdaLoRA by peft, and a bottleneck; each can be merged into an ordinary model.

LoRA: Hu et al. 2021. AdaLoRA: Zhang et al. 2023. Letters: r rank.
"""

from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from models.bottleneck import merge_bottlenecks, with_bottlenecks

Kind = Literal["lora", "adalora", "bottleneck"]
KINDS: tuple[str, ...] = get_args(Kind)
# query and value of each architecture; where one matrix makes query, key and value, that one
_ATTENTION = (
    ("query", "value"), ("q_proj", "v_proj"), ("q_lin", "v_lin"), ("query_proj", "value_proj"), ("q", "v"),
    ("c_attn",), ("query_key_value",), ("Wqkv",),
)  # fmt: skip
_NAME = "clicks"


@dataclass(frozen=True)
class AdapterSettings:
    """width: of the bottleneck; orthogonality: weight of AdaLoRA's regularizer."""

    kind: Kind = "lora"
    rank: int = 8
    alpha: float = 16.0
    width: int = 32
    orthogonality: float = 0.1


def attention_targets(model: nn.Module) -> list[str]:
    """Names of the layers that make query and value. ValueError where the architecture has none that are known."""
    leaves = {name.rsplit(".", 1)[-1] for name, module in model.named_modules() if is_linear(module)}
    for names in _ATTENTION:
        if leaves.issuperset(names):
            return list(names)
    raise ValueError(
        f"{type(model).__name__} has no query and value layers that are known; found linear layers {', '.join(sorted(leaves))}, "
        f"expected {' or '.join(' + '.join(names) for names in _ATTENTION)}; the bottleneck adapter may know this architecture"
    )


def is_linear(module: nn.Module) -> bool:
    """Whether it is a matrix: torch's Linear, or the transposed one of GPT-2."""
    from transformers.pytorch_utils import Conv1D

    return isinstance(module, (nn.Linear, Conv1D))


class Adapted:
    """An encoder of which only the adapter learns. ``steps``: how many updates there will be, for AdaLoRA's budget of ranks."""

    def __init__(self, model: Any, settings: AdapterSettings, steps: int, seed: int) -> None:
        if settings.kind not in KINDS:
            raise ValueError(f"unknown adapter {settings.kind!r}; expected one of {', '.join(KINDS)}")
        self._settings, self.model = settings, model  # the adapter's layers take their places in it
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            bottleneck = settings.kind == "bottleneck"
            self._tuner: Any = with_bottlenecks(model, settings.width) if bottleneck else _with_peft(model, settings, steps)
        model.eval()  # no dropout: what is learned from are the vectors that will be served

    def parameters(self) -> list[nn.Parameter]:
        """What learns."""
        return [parameter for parameter in self.model.parameters() if parameter.requires_grad]

    def penalty(self) -> Tensor:
        """AdaLoRA's distance of its bases from orthogonal ones; 0 for the others."""
        if self._settings.kind != "adalora":
            return torch.zeros(())
        distances = [
            torch.linalg.matrix_norm(gram - torch.eye(len(gram), device=gram.device))
            for name, weight in self.model.named_parameters() if weight.requires_grad and ("lora_A" in name or "lora_B" in name)
            for gram in [weight @ weight.T if "lora_A" in name else weight.T @ weight]
        ]  # fmt: skip
        return self._settings.orthogonality * torch.stack(distances).mean()

    def after_backward(self, step: int) -> None:
        """AdaLoRA gives its ranks to the layers that matter; call it between an update and the next gradient."""
        if self._settings.kind == "adalora":
            self._tuner.base_model.update_and_allocate(step)

    def merged(self) -> Any:
        """The encoder as an ordinary model of its architecture, with what was learned in its weights. Ends the adapter."""
        merged = merge_bottlenecks(self.model) if self._settings.kind == "bottleneck" else self._tuner.merge_and_unload()
        return merged.requires_grad_(True)


def _with_peft(model: Any, settings: AdapterSettings, steps: int) -> Any:
    from peft import AdaLoraConfig, LoraConfig, get_peft_model

    targets = attention_targets(model)
    transposed = not any(isinstance(module, nn.Linear) for name, module in model.named_modules() if name.rsplit(".", 1)[-1] in targets)
    common: dict[str, Any] = {"target_modules": targets, "lora_alpha": settings.alpha, "lora_dropout": 0.0, "fan_in_fan_out": transposed}
    if settings.kind == "lora":
        return get_peft_model(model, LoraConfig(r=settings.rank, **common), adapter_name=_NAME)
    first, last = max(1, steps // 10), max(1, steps // 3)
    if steps < 4:
        raise ValueError(f"AdaLoRA needs at least 4 updates to give out its ranks, found {steps}; use more examples or epochs, or lora")
    ranks: dict[str, Any] = {"init_r": settings.rank + settings.rank // 2, "target_r": settings.rank}
    config = AdaLoraConfig(**ranks, tinit=first, tfinal=last, total_step=steps, **common)
    return get_peft_model(model, config, adapter_name=_NAME)
