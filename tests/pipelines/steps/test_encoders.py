"""Which encoders are at work, and that the settings follow what a move puts into production."""

import json
import shutil

import pytest

from models.encoder_files import encoder_version
from pipelines.errors import UserError
from pipelines.hours import end_of, shift
from pipelines.registry.releases import MAIN, ReleaseRow, append_decision, newest_production, release_folder
from pipelines.settings import load_settings
from pipelines.steps.adapted_encoders import ENCODER, AdaptedReport, adapted_folder, note_before, write_report
from pipelines.steps.challengers import begin, waiting
from pipelines.steps.encoders import encoder_spec, follow_production, read_version, spec_of, specs_at_work

START = "2026-11-10T08"
OWN, ADAPTED = "bert", "roberta"


@pytest.fixture
def root(tmp_path, make_encoder):
    """A root whose encoder is a folder of its own, and an adapted one; and the versions of both."""
    home = tmp_path / "root"
    home.mkdir()
    own, adapted = make_encoder(OWN), make_encoder(ADAPTED)
    (home / "recloop.yaml").write_text(f"# ours\nlake: {{start_hour: {START}, now: loop}}\nencoder: {{path: {own}}}\n")
    settings = load_settings(home, {})
    versions = [encoder_version(str(path), settings.encoder.pooling, settings.encoder.max_tokens) for path in (own, adapted)]
    shutil.copytree(adapted, adapted_folder(settings, versions[1]) / ENCODER)
    return home, *versions


@pytest.fixture
def release(root):
    """Appends a release whose ranker reads this encoder's vectors, by what is in production."""

    def decide(number, stage, encoder, hour, lineage=MAIN):
        settings = load_settings(root[0], {})
        before = newest_production(settings)
        ranker = release_folder(settings, f"r{number:06d}") / "ranker"
        ranker.mkdir(parents=True)
        (ranker / "config.json").write_text(json.dumps({"encoder_version": encoder}))
        numbers = {"encoder": encoder, "ranker": str(number), "policy": "1"}
        name = before.release_id if before else None
        row = ReleaseRow(
            f"r{number:06d}", hour, numbers, "change", stage, "t", shift(hour, 1), end_of(hour), lineage, compared_with=name
        )  # fmt: skip
        append_decision(settings, row, name)

    return decide


def versions_at_work(home, hour):
    return list(specs_at_work(load_settings(home, {}), hour))


def test_what_draws_learns_or_may_come_back_is_encoded_for(root, release):
    home, own, adapted = root
    hours = [shift(START, number) for number in range(60)]
    assert versions_at_work(home, START) == [own], "before the first release"
    release(1, "production", own, START)
    assert versions_at_work(home, hours[1]) == [own]
    release(2, "staging", adapted, hours[1], "encoder-x")
    assert versions_at_work(home, hours[2]) == [own, adapted]
    release(3, "rejected", adapted, hours[2], "encoder-x")
    assert versions_at_work(home, hours[3]) == [own]
    note_before(load_settings(home, {}), adapted, "r000001")
    release(4, "production", adapted, hours[3])
    assert read_version(release_folder(load_settings(home, {}), "r000004") / "ranker") == adapted
    follow_production(load_settings(home, {}))
    assert versions_at_work(home, hours[4]) == versions_at_work(home, hours[27]) == [adapted, own], "for a day after it left production"
    assert versions_at_work(home, hours[28]) == [adapted]
    release(5, "production", "0123456789ab", hours[29])
    assert versions_at_work(home, hours[30]) == [adapted], "one that is not at hand stops no table"


def test_the_settings_follow_a_move_that_changes_the_encoder_and_no_other(root, release):
    home, own, adapted = root
    release(1, "production", own, START)
    follow_production(load_settings(home, {}))
    before = (home / "recloop.yaml").read_text()
    release(2, "production", own, shift(START, 1))
    follow_production(load_settings(home, {}))
    assert (home / "recloop.yaml").read_text() == before
    release(3, "production", adapted, shift(START, 2))
    follow_production(load_settings(home, {}))
    assert encoder_spec(load_settings(home, {})).version == adapted
    release(4, "production", adapted, shift(START, 3))
    (home / "recloop.yaml").write_text(before)
    follow_production(load_settings(home, {}))
    assert (home / "recloop.yaml").read_text() == before, "what a person has named since is theirs"


def test_a_challenger_of_an_encoder_names_the_way_back_and_what_cannot_be_staged(root, release, monkeypatch):
    home, own, adapted = root
    settings = load_settings(home, {})
    with pytest.raises(UserError, match="an encoder is staged by its version, and nothing else is"):
        begin(settings, "encoder", "a try")
    monkeypatch.setattr("pipelines.lake.ledger.newest_hour", lambda *_: START)
    with pytest.raises(UserError, match=f"no adapted encoder {adapted!r}; found none"):
        begin(settings, "encoder", "a try", adapted)
    write_report(settings, AdaptedReport(adapted, "lora", START, {"encoder": "2", "ranker": "2"}, []))
    with pytest.raises(UserError, match="nothing is in production yet"):
        begin(settings, "encoder", "a try", adapted)
    release(1, "production", own, START)
    elsewhere = load_settings(home, {"RECLOOP__ENCODER__PATH": "/elsewhere"})
    monkeypatch.setattr("pipelines.steps.challengers.encoder_spec", lambda _: encoder_spec(settings))
    with pytest.raises(UserError, match=r"RECLOOP__ENCODER__PATH names /elsewhere, recloop\.yaml .*; unset the variable"):
        begin(elsewhere, "encoder", "a try", adapted)
    assert waiting(settings) is None


def test_an_encoder_that_is_gone_is_named(root):
    home, own, _ = root
    assert spec_of(load_settings(home, {}), own).path.endswith(OWN)
    with pytest.raises(UserError, match=r"no encoder 0123456789ab under .*; put its folder back"):
        spec_of(load_settings(home, {}), "0123456789ab")
