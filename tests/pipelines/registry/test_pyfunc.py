"""Each registered model, loaded by a stranger: another process, no checkout on its path, no pickles, against the plain torch model."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from models.encoder import Encoder
from models.encoder_files import default_encoder_path
from models.records import ItemTable, RankerBatch, UserState
from pipelines.registry.pyfunc_ranker import as_batch
from pipelines.registry.runs import tracked_run
from pipelines.registry.versions import model_name, register

HOUR = "2026-03-01T00"
KINDS = ("ranker", "policy", "encoder")
CHECKOUT = Path(__file__).parents[3]
TEXTS = ["Toy Story (1995)", "Heat (1995) crime", "", "Toy Story (1995)"]
STRANGER = """
import json, sys
import pandas as pd
import mlflow
mlflow.set_tracking_uri(sys.argv[1])
asked, answers = json.load(open(sys.argv[2])), {}
for name, rows in asked.items():
    model = mlflow.pyfunc.load_model(f"models:/{name}/1")
    answers[name] = model.predict(pd.DataFrame(rows)).to_dict("list")
    answers[f"{name} example"] = model.predict(model.input_example).to_dict("list")
    answers[f"{name} inputs"] = model.metadata.signature.inputs.to_dict()
import models
answers["code"] = models.__file__
json.dump(answers, open(sys.argv[3], "w"))
"""
ROWS, ITEMS, IMAGE_DIM = 9, 7, 4


@pytest.fixture(scope="module")
def world() -> tuple[RankerBatch, ItemTable]:
    """Examples with ragged histories: one user without any, one whose candidate stands in the history; every third came from a search."""
    draw = torch.Generator().manual_seed(5)
    history = torch.randint(1, ITEMS + 1, (ROWS, 5), generator=draw)
    history[torch.arange(5) < torch.randint(0, 5, (ROWS, 1), generator=draw)] = 0
    history[0], item = 0, torch.randint(1, ITEMS + 1, (ROWS,), generator=draw)
    item[1] = history[1, -1]
    known = history > 0
    user = UserState(
        torch.rand(ROWS, 2, generator=draw) * 9, history, torch.rand(ROWS, 5, generator=draw) * 99 * known,
        torch.rand(ROWS, 5, generator=draw) * known,
    )  # fmt: skip
    random = np.random.default_rng(3)
    vectors, images = random.normal(size=(ITEMS + 2, 6)), random.normal(size=(ITEMS + 2, IMAGE_DIM))  # the last two are searches
    images[[2, *range(ITEMS, ITEMS + 2)]] = 0
    items = ItemTable.from_numpy(vectors, images)
    query = torch.tensor([0, 0, ITEMS + 1] * 2 + [0, 0, ITEMS + 2])
    match = torch.nn.functional.cosine_similarity(items.vectors[query], items.vectors[item]) * (query > 0)
    batch = RankerBatch(
        user, item, torch.rand(ROWS, 3, generator=draw), torch.rand(ROWS, generator=draw) * 50,
        torch.stack([torch.rand(ROWS, generator=draw), match], 1), torch.arange(ROWS) % 6, torch.zeros(ROWS, 2), torch.ones(ROWS), query,
    )  # fmt: skip
    return batch, items


def as_rows(batch: RankerBatch, items: ItemTable) -> dict[str, list]:
    """The same examples as a stranger would write them: lists, vectors in place of rows, nothing for padding."""
    known = [row > 0 for row in batch.user.history]
    return {
        "user_counters": batch.user.counters.tolist(),
        "item_counters": batch.item_counters.tolist(),
        "cross": (batch.cross * torch.tensor([1.0, 0.0])).tolist(),  # how well an item fits a query is for the model to find out
        "query_vector": [items.vectors[row].tolist() if row else None for row in batch.query.tolist()],
        "item_age_h": batch.item_age_h.tolist(),
        "position": batch.position.tolist(),
        "item_vector": items.vectors[batch.item].tolist(),
        "history_vectors": [items.vectors[row[keep]].tolist() for row, keep in zip(batch.user.history, known, strict=True)],
        "item_image": [_image(items, row) for row in batch.item],
        "history_images": [[_image(items, row) for row in history[keep]] for history, keep in zip(batch.user.history, known, strict=True)],
        "history_age_h": [row[keep].tolist() for row, keep in zip(batch.user.history_age_h, known, strict=True)],
        "history_weight": [row[keep].tolist() for row, keep in zip(batch.user.history_weight, known, strict=True)],
    }


def _image(items: ItemTable, row: int) -> list[float]:
    return items.images[row].tolist() if items.images[row].any() else []


@pytest.fixture
def slates() -> tuple[list, list]:
    random = np.random.default_rng(8)
    return random.normal(size=(3, 3)).tolist(), [random.normal(size=(count, 4)).tolist() for count in (5, 1, 3)]


@pytest.fixture
def answers(make_settings, mlflow_url, make_ranker, make_policy, world, slates, tmp_path) -> dict:
    settings = make_settings(domain="social")
    folders = {"ranker": make_ranker(21)[1], "policy": make_policy(21)[1], "encoder": Path(default_encoder_path())}
    with tracked_run(settings, "finetune_ranker", HOUR) as run:
        for kind in KINDS:
            assert register(settings, run, kind, folders[kind], HOUR) == "1"
        assert register(settings, run, "encoder", folders["encoder"], "2026-03-01T07") == "1"
    asked = {"ranker": as_rows(*world), "policy": dict(zip(("user_vector", "candidates"), slates, strict=True)), "encoder": {"text": TEXTS}}
    question, answer, script = tmp_path / "question.json", tmp_path / "answer.json", tmp_path / "stranger.py"
    question.write_text(json.dumps({model_name(settings, kind): rows for kind, rows in asked.items()}))
    script.write_text(STRANGER)
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"}
    command = [sys.executable, str(script), mlflow_url, str(question), str(answer)]
    done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(answer.read_text())


def test_a_stranger_gets_what_the_torch_models_give(answers, make_ranker, make_policy, world, slates):
    assert not Path(answers["code"]).is_relative_to(CHECKOUT)

    ranker, (batch, items) = make_ranker(21)[0], world
    wanted = ranker(batch, items).sigmoid().detach().double().numpy()
    found = answers["recloop-social-ranker"]
    assert list(found) == ["click", "watch"]
    np.testing.assert_allclose(np.array(list(found.values())).T, wanted, atol=1e-6)
    assert wanted.std() > 0.01

    policy, (users, candidates) = make_policy(21)[0], slates
    for row, (user, own) in enumerate(zip(users, candidates, strict=True)):
        logits = policy(torch.tensor([user]), torch.tensor([own]), torch.ones(1, len(own), dtype=torch.bool))[0].detach().double()
        np.testing.assert_allclose(answers["recloop-social-policy"]["logits"][row], logits, atol=1e-6)
        chance = np.exp(logits.numpy()) / np.exp(logits.numpy()).sum()
        np.testing.assert_allclose(answers["recloop-social-policy"]["propensity"][row], chance, atol=1e-6)

    vectors = np.array(answers["recloop-social-encoder"]["vector"])
    np.testing.assert_allclose(vectors, Encoder.load(default_encoder_path()).encode(TEXTS), atol=1e-6)
    assert vectors.shape == (4, 384)

    for kind, rows in (("ranker", 2), ("policy", 2), ("encoder", 2)):
        example = answers[f"recloop-social-{kind} example"]
        assert {len(column) for column in example.values()} == {rows}
    optional = {column["name"] for column in answers["recloop-social-ranker inputs"] if not column["required"]}
    assert optional == {"position", "query_vector", "item_image", "history_images"}


def test_images_that_do_not_fit_are_one_line(world, make_ranker):
    config, rows = make_ranker(23)[0].config, pd.DataFrame(as_rows(*world))
    with pytest.raises(ValueError, match="an image vector of 3 numbers, expected 4"):
        as_batch(rows.assign(item_image=[[0.5] * 3] * ROWS), config)
    with pytest.raises(ValueError, match=r"row 1 has \d history_vectors and 9 history_images, expected as many"):
        as_batch(rows.assign(history_images=[*rows["history_images"][:1], *[[[0.5] * 4] * 9] * (ROWS - 1)]), config)


def test_without_a_position_users_are_scored_at_the_first(world, make_ranker):
    from types import SimpleNamespace

    from pipelines.registry.pyfunc_ranker import RankerModel

    folder = make_ranker(22)[1]
    model, (batch, items) = RankerModel(), world
    model.load_context(SimpleNamespace(artifacts={"ranker": str(folder)}))
    rows = pd.DataFrame(as_rows(batch, items))
    first = model.predict(None, rows.drop(columns="position"))
    pd.testing.assert_frame_equal(first, model.predict(None, rows.assign(position=0)))
    alone = model.predict(None, rows.iloc[[4]].drop(columns="position"))
    pd.testing.assert_frame_equal(first.iloc[[4]].reset_index(drop=True), alone, atol=1e-6)
    assert model.predict(None, rows.iloc[:0]).shape == (0, 2)
    assert (first["click"] - model.predict(None, rows)["click"]).abs().max() > 1e-3
