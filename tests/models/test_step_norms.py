import math

import pytest
import torch
from torch import nn

from models.step_norms import WHOLE, step_norms


class Small(nn.Module):
    def __init__(self, width=2):
        super().__init__()
        self.gain, self.zero = nn.Parameter(torch.tensor(2.0)), nn.Parameter(torch.zeros(2))
        self.still = nn.Parameter(torch.zeros(3))
        self.layer = nn.Linear(width, 1)
        with torch.no_grad():
            self.layer.weight.fill_(3.0)
            self.layer.bias.fill_(4.0)


def test_each_layers_step_is_a_share_of_its_norm():
    old, new = Small(), Small()
    with torch.no_grad():
        new.gain += 1.0  # 1 of 2
        new.layer.weight[0, 1] += 3.0  # sqrt(9 + 16) of sqrt(9 + 9 + 16)
        new.layer.bias -= 4.0
        new.zero += 5.0
    found = step_norms(new, old)
    assert list(found) == [WHOLE, "gain", "zero", "still", "layer"]
    assert found["gain"] == 0.5 and found["layer"] == pytest.approx(math.sqrt(25 / 34))
    assert found["zero"] == math.inf and found["still"] == 0.0
    assert found[WHOLE] == pytest.approx(math.sqrt((1 + 25 + 50) / (4 + 34)))


def test_other_shapes_cannot_be_compared():
    with pytest.raises(ValueError, match="one architecture"):
        step_norms(Small(), Small(3))
