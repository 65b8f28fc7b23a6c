"""Models that cannot score are named before anything rests on them."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from pipelines.errors import UserError
from pipelines.registry.release_files import check_models, wrong_model


@pytest.fixture
def folder(tmp_path, save_release):
    save_release(tmp_path / "r000002", text_dim=6)
    return tmp_path / "r000002"


def spoil(path, value):
    weights = load_file(path)
    name = max(weights, key=lambda name: weights[name].numel())
    weights[name].view(-1)[1] = value
    save_file(weights, path)
    return name


def test_a_whole_release_passes(folder):
    check_models(folder, "r000002")


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("model", ["ranker", "policy"])
def test_weights_that_are_no_numbers_are_named(folder, model, value):
    name = spoil(folder / model / "model.safetensors", value)
    with pytest.raises(UserError, match=rf"release r000002, {model}: 1 of \d+ values of {name} in model\.safetensors are not") as error:
        check_models(folder, "r000002")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("cut", [0, 4, 100, -1])
def test_a_cut_file_is_named_whatever_is_left(folder, cut):
    path = folder / "policy" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:cut])
    assert "model.safetensors" in wrong_model(folder / "policy")
