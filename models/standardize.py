"""Numbers brought to one scale, with statistics fixed once so that a score means the same in every hour."""

import torch
from torch import Tensor, nn


class Standardizer(nn.Module):
    """(x - mean) / std, clipped to +-limit; `log` takes sign(x) log1p(|x|) first. Statistics are buffers."""

    mean: Tensor
    std: Tensor

    def __init__(self, width: int, log: bool = True, limit: float = 5.0) -> None:
        super().__init__()
        self.width, self.log, self.limit = width, log, limit
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("std", torch.ones(width))

    def _scaled(self, numbers: Tensor) -> Tensor:
        return numbers.sign() * numbers.abs().log1p() if self.log else numbers

    @torch.no_grad()
    def fit(self, numbers: Tensor) -> Tensor:
        """numbers: (n, width). Returns which columns vary (width,); one that never does keeps std 1."""
        scaled = self._scaled(numbers.double())
        mean = scaled.mean(0)
        std = (scaled - mean).square().mean(0).sqrt()
        self.mean.copy_(mean)
        self.std.copy_(torch.where(std > 1e-6, std, torch.ones_like(std)))
        return std > 1e-6

    def forward(self, numbers: Tensor) -> Tensor:
        """numbers: (..., width) raw. Returns the same shape."""
        if numbers.shape[-1] != self.width:
            raise ValueError(
                f"expected {self.width} columns, found {numbers.shape[-1]}: "
                "the features' columns must be those of the model's config"
            )
        return ((self._scaled(numbers) - self.mean) / self.std).clamp(-self.limit, self.limit)
