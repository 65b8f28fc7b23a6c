"""What an item is about, as one unit vector of a small width: its text, and its image where it has one.

Letters: M item rows, D projected width, W width of the vectors as they come.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_IMAGE_SHARE = -1.0  # log-odds of an image's share to begin with: about a quarter


class UnitProjection(nn.Module):
    """Vectors, centered and normalized, to unit vectors of a small width; zero vectors stay zero."""

    center: Tensor

    def __init__(self, width: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("center", torch.zeros(width))
        self.linear = nn.Linear(width, dim, bias=False)

    @torch.no_grad()
    def fit(self, vectors: Tensor) -> None:
        """Center at the items' mean and start the projection at their principal axes: similarity works from row one."""
        known = vectors[_known(vectors).squeeze(-1)]  # (M, W)
        if len(known) == 0:
            return
        self.center.copy_(known.mean(0))
        units = F.normalize(known - self.center, dim=-1).double()
        axes = torch.linalg.eigh(units.T @ units).eigenvectors.flip(1)  # (W, W), largest first
        count = min(self.linear.out_features, axes.shape[1])
        self.linear.weight[:count] = axes[:, :count].T.to(self.linear.weight)

    def forward(self, vectors: Tensor) -> Tensor:
        """vectors: (M, W). Returns (M, D)."""
        units = F.normalize((vectors - self.center) * _known(vectors), dim=-1)
        return F.normalize(self.linear(units), dim=-1)  # (M, D)


class GatedFusion(nn.Module):
    """Text and image weighed against each other, by item and by column (gated multimodal unit, Arevalo et al. 2017, arXiv:1702.01992).

    An item without an image is its text, one without a text its image.
    """

    def __init__(self, image_dim: int, dim: int) -> None:
        super().__init__()
        self.image = UnitProjection(image_dim, dim)
        self.gate = nn.Linear(2 * dim, dim)
        nn.init.zeros_(self.gate.weight)
        nn.init.constant_(self.gate.bias, _IMAGE_SHARE)

    def forward(self, text: Tensor, images: Tensor) -> Tensor:
        """text: (M, D) as projected; images: (M, W), zeros for none. Returns (M, D) unit vectors."""
        image = self.image(images)
        share = self.gate(torch.cat([text, image], -1)).sigmoid()  # (M, D)
        fused = F.normalize((1 - share) * text + share * image, dim=-1)
        return torch.where(_known(images), fused, text)


def _known(vectors: Tensor) -> Tensor:
    """(M, 1) bool: not all zeros."""
    return vectors.abs().sum(-1, keepdim=True) > 0
