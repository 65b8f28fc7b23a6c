"""Search on a root whose texts and queries are vectors by hand; its encoder is the packaged one."""

import numpy as np
import pytest

from models.encoder import Encoder
from models.encoder_files import default_encoder_path
from pipelines.errors import UserError
from pipelines.hours import end_of
from pipelines.lake import ledger
from pipelines.local.search import search
from pipelines.registry.releases import ReleaseRow, append_decision, release_folder
from pipelines.steps.encoders import encoder_spec

START = "2026-11-10T08"
TITLES = {"red": "red running shoes for women", "blue": "blue suede shoes", "lamp": "desk lamp with LED light", "gone": "red shoes"}


@pytest.fixture
def root(settings, write_table, ledger_row, save_release):
    """Four items, one user who bought the lamp, and a release whose ranker nothing has taught."""
    encoder = Encoder(default_encoder_path(), max_tokens=settings.encoder.max_tokens)
    write_table(settings, "items", [
        {"item_id": item, "updated_hour": START, "title": title, "available": item != "gone"} for item, title in TITLES.items()
    ])  # fmt: skip
    write_table(settings, "item_embeddings", [
        {"item_id": item, "encoder_version": encoder.version, "text_hash": "", "vector": vector.tolist()}
        for item, vector in zip(TITLES, encoder.encode(list(TITLES.values())), strict=True)
    ])  # fmt: skip
    met = {"ts": end_of(START), "event_id": "e", "item_id": "lamp", "weight": 1.0, "times": 1.0}
    outputs = {
        "item_features": write_table(settings, "item_features", [{"item_id": "lamp", "as_of": end_of(START)}]),
        "user_features": write_table(settings, "user_features", [{"user_id": "u", "as_of": end_of(START), "recent": [met]}]),
    }
    ledger.write_rows(settings, [ledger_row("build_features", START, outputs=outputs)])
    save_release(release_folder(settings, "r000001"), 384, encoder.version)
    versions = {"encoder": encoder.version, "ranker": "1", "policy": "1"}
    append_decision(settings, ReleaseRow("r000001", START, versions, "refresh", "production", "test", START, end_of(START)), None)
    return settings


def test_what_fits_comes_first_with_its_match_and_nothing_that_is_not_available(root):
    found = search(root, "  Shoes\t to run in ")
    assert (found.query, found.user_id, found.hour, found.release_id) == ("Shoes to run in", None, START, "r000001")
    assert [row.item_id for row in found.results] == ["red", "blue", "lamp"] and found.results[0].title == TITLES["red"]
    encoder = Encoder(default_encoder_path(), max_tokens=root.encoder.max_tokens)
    query, *items = encoder.encode([found.query, *(row.title for row in found.results)])
    np.testing.assert_allclose([row.match for row in found.results], [query @ item for item in items], atol=1e-5)
    assert [row.item_id for row in search(root, "light to read by", k=1).results] == ["lamp"]


def test_a_user_moves_the_expected_reward(root):
    of_nobody, of_user = search(root, "shoes"), search(root, "shoes", "u")
    assert of_user.user_id == "u" and {row.item_id for row in of_user.results} == {row.item_id for row in of_nobody.results}
    assert [row.expected_reward for row in of_user.results] != [row.expected_reward for row in of_nobody.results]


def test_what_cannot_be_searched_is_one_line(root, settings):
    with pytest.raises(UserError, match="the query is empty"):
        search(root, " \n ")
    with pytest.raises(UserError, match="nothing is known of user 'stranger' up to"):
        search(root, "shoes", "stranger")
    other = root.model_copy(update={"encoder": root.encoder.model_copy(update={"max_tokens": 32})})
    with pytest.raises(UserError, match=f"r000001 reads vectors of encoder .*, the settings name {encoder_spec(other).version}"):
        search(other, "shoes")


def test_a_root_without_hours_says_what_to_run(settings):
    with pytest.raises(UserError, match="no hour has features"):
        search(settings, "shoes")
