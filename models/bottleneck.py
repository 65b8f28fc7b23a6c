"""A bottleneck adapter beside each feed-forward block: x + F(x) + U a(D x), with U zero at the start (Houlsby et al. 2019; beside the
block instead of behind it, as He et al. 2022 found better).

a is the block's own elementwise activation, so the adapter *is* W more units of the block: merged, the model is an ordinary one with a
wider feed-forward, and needs no code of ours to be loaded. Behind the block it could not be merged. Letters: W width.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

# names within a layer: into the block, out of it, and the configuration's key of its width
_BLOCKS = (
    ("intermediate.dense", "output.dense", "intermediate_size"),
    ("mlp.c_fc", "mlp.c_proj", "n_inner"),
    ("ffn.lin1", "ffn.lin2", "hidden_dim"),
    ("mlp.dense_h_to_4h", "mlp.dense_4h_to_h", "intermediate_size"),
)


class WiderIn(nn.Module):
    """A frozen matrix with W more outputs that learn."""

    def __init__(self, base: nn.Module, inputs: int, width: int) -> None:
        super().__init__()
        self.base, self.adapter = base, nn.Linear(inputs, width)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.base(x), self.adapter(x)], dim=-1)

    def merged(self) -> nn.Module:
        return _matrix(self.base, torch.cat([_weight(self.base), self.adapter.weight]), torch.cat([_bias(self.base), self.adapter.bias]))


class WiderOut(nn.Module):
    """A frozen matrix with W more inputs, from zero."""

    def __init__(self, base: nn.Module, outputs: int, width: int) -> None:
        super().__init__()
        self.base, self.adapter = base, nn.Linear(width, outputs, bias=False)
        nn.init.zeros_(self.adapter.weight)

    def forward(self, x: Tensor) -> Tensor:
        width = self.adapter.in_features
        y: Tensor = self.base(x[..., :-width]) + self.adapter(x[..., -width:])
        return y

    def merged(self) -> nn.Module:
        return _matrix(self.base, torch.cat([_weight(self.base), self.adapter.weight], dim=1), _bias(self.base))


def with_bottlenecks(model: Any, width: int) -> Any:
    """The model with an adapter in each layer, all else frozen. ValueError for an architecture without a known feed-forward block."""
    model.requires_grad_(False)
    into, out, _ = _block_names(model)
    for name, module in list(model.named_modules()):
        if _ends_with(name, into):
            layer = name.removesuffix(into)
            outer = model.get_submodule(layer + out)
            model.set_submodule(name, WiderIn(module, _weight(module).shape[1], width))
            model.set_submodule(layer + out, WiderOut(outer, _weight(outer).shape[0], width))
    return model


def merge_bottlenecks(model: Any) -> Any:
    """The model with wider feed-forward blocks in place of the adapters, and its configuration with it."""
    for name, module in list(model.named_modules()):
        if isinstance(module, (WiderIn, WiderOut)):
            model.set_submodule(name, module.merged())
    into, _, key = _block_names(model)
    wide = next(module for name, module in model.named_modules() if _ends_with(name, into))
    setattr(model.config, key, _weight(wide).shape[0])
    return model


def _block_names(model: nn.Module) -> tuple[str, str, str]:
    names = {name for name, _ in model.named_modules()}
    for into, out, key in _BLOCKS:
        found = [name for name in names if _ends_with(name, into)]
        if found and all(name.removesuffix(into) + out in names for name in found):
            return into, out, key
    known = ", ".join(into for into, _, _ in _BLOCKS)
    raise ValueError(f"{type(model).__name__} has no feed-forward block that the bottleneck knows ({known}); use lora or adalora")


def _ends_with(name: str, part: str) -> bool:
    return name == part or name.endswith(f".{part}")


def _is_transposed(module: nn.Module) -> bool:
    return not isinstance(module, nn.Linear)


def _weight(module: Any) -> Tensor:
    """(outputs, inputs)."""
    weight: Tensor = module.weight.detach()
    return weight.T if _is_transposed(module) else weight


def _bias(module: Any) -> Tensor:
    return torch.zeros(len(_weight(module))) if module.bias is None else module.bias.detach()


@torch.no_grad()
def _matrix(like: nn.Module, weight: Tensor, bias: Tensor) -> nn.Module:
    """A matrix of the kind of ``like`` with these values; weight: (outputs, inputs)."""
    from transformers.pytorch_utils import Conv1D

    outputs, inputs = weight.shape
    transposed: Callable[[int, int], nn.Module] = Conv1D
    made = transposed(outputs, inputs) if _is_transposed(like) else nn.Linear(inputs, outputs)
    made.get_parameter("weight").copy_(weight.T if _is_transposed(like) else weight)
    made.get_parameter("bias").copy_(bias)
    return made.to(weight.device)
