"""Several processes that learn as one: each holds a part of every mini-batch, and their gradients add up to the whole one's."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Group:
    """This process, number ``rank`` of ``size``; row n of what all of them see belongs to process n modulo ``size``."""

    rank: int = 0
    size: int = 1

    def own(self, index: Tensor) -> Tensor:
        """The rows (n,) of all that are this process's, as row numbers of what it holds itself."""
        if self.size == 1:
            return index
        return torch.div(index[index % self.size == self.rank], self.size, rounding_mode="floor")

    def add(self, tensors: Sequence[Tensor]) -> None:
        """Replaces each tensor by its sum over the processes; each of them must call this, with tensors of the same shapes."""
        if self.size == 1:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        torch.distributed.all_reduce(flat)
        for tensor, part in zip(tensors, torch.split(flat, [tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(part.view_as(tensor))


ALONE = Group()
