"""A ranker for a new domain out of another domain's: what both read alike is taken over, scales and base rates are the new one's own."""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor

from models.ranker import Ranker

_OWN = ("skip.bias", "tower_bias", "fusion.")  # base rates; nothing says that both domains' image vectors are of one make
_BY_TASK = {"heads.weight": 0, "skip.weight": 0, "rate_gain": 0, "relevance_gain": 0, "position_term": 1}  # the axis of the tasks


@torch.no_grad()
def transferred(source: Ranker, target: Ranker) -> Ranker:
    """A copy of ``target``, which has its statistics and nothing learned, with the weights of ``source``.

    Columns are matched by name, tasks too; a task that the source lacks gets the source's first one, without its position term. Columns
    that never varied in the target's examples stay silent. Raises ValueError where the sizes or the encoders differ.
    """
    for name in ("dim", "hidden", "positions", "text_dim", "encoder_version"):
        theirs, own = getattr(source.config, name), getattr(target.config, name)
        if theirs != own:
            raise ValueError(f"the source's {name} is {theirs}, the new ranker's {own}; only rankers of the same can be taken over")
    result = copy.deepcopy(target)
    weights, columns, own_columns = dict(source.named_parameters()), source.input_columns(), target.input_columns()
    tasks, silent = _places(target.config.tasks, source.config.tasks), _silent(target)
    for name, weight in result.named_parameters():
        if name.startswith(_OWN) or name not in weights:
            continue
        found: Tensor = weights[name]
        if name in _BY_TASK:
            found = found.index_select(_BY_TASK[name], tasks.clamp(min=0))
        if name == "position_term":
            found = found * (tasks >= 0)
        if name in columns:
            place = _places(own_columns[name], columns[name])
            shared = (place >= 0) & ~torch.tensor([column in silent for column in own_columns[name]])
            found = torch.where(shared, found[:, place.clamp(min=0)], weight)
        weight.copy_(found)
    return result


def _silent(ranker: Ranker) -> set[str]:
    """The columns that never varied in the examples that an untrained ranker was fitted to."""
    columns, weight = ranker.input_columns()["bottom.0.weight"], ranker.bottom.get_parameter("0.weight")
    return {column for column, varied in zip(columns, (weight != 0).any(0).tolist(), strict=True) if not varied}


def _places(names: Sequence[str], among: Sequence[str]) -> Tensor:
    """(names,) int64: where each stands among the others, -1 where it does not."""
    place = {name: number for number, name in enumerate(among)}
    return torch.tensor([place.get(name, -1) for name in names])
