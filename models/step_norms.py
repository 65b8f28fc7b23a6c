"""How far an update moved the weights, layer by layer."""

import math

import torch
from torch import nn

WHOLE = "all"  # the weights of all layers together


@torch.no_grad()
def step_norms(new: nn.Module, old: nn.Module) -> dict[str, float]:
    """L2 norm of new - old as a share of old's, by layer, first of all weights together.

    A layer is what its parameters' names have before the last dot, or the parameter itself. Of a layer that was all zeros it is
    infinite, or 0 where it still is. Raises ValueError for modules of different shapes.
    """
    before, after = dict(old.named_parameters()), dict(new.named_parameters())
    if {name: weight.shape for name, weight in before.items()} != {name: weight.shape for name, weight in after.items()}:
        raise ValueError("the two models have different layers or sizes; weights can only be compared within one architecture")
    squares = {WHOLE: [0.0, 0.0]}
    for name, weight in before.items():
        for layer in (WHOLE, name.rpartition(".")[0] or name):
            found = squares.setdefault(layer, [0.0, 0.0])
            found[0] += (after[name] - weight).double().square().sum().item()
            found[1] += weight.double().square().sum().item()
    return {layer: _relative(*found) for layer, found in squares.items()}


def _relative(step: float, before: float) -> float:
    return math.sqrt(step / before) if before else math.inf if step else 0.0
