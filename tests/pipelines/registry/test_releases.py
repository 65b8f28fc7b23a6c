import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pipelines.errors import UserError
from pipelines.hours import shift
from pipelines.registry import releases
from pipelines.registry.gates import Figure
from pipelines.registry.releases import (
    ReleaseRace,
    ReleaseRow,
    all_releases,
    append_decision,
    decision_for,
    next_release_id,
    production_before,
    release_in_force,
)
from pipelines.settings import Settings, load_settings

FIRST = "2026-11-23T08"
FIGURE = Figure("AUC", "pass", 0.01, -0.001, 0.02, -0.003, 5000)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(tmp_path, {})


def row(settings: Settings, hour: str, stage: str = "production", **values: object) -> ReleaseRow:
    made = ReleaseRow(
        next_release_id(settings), hour, {"encoder": "1", "ranker": "4", "policy": "2"}, "refresh", stage, "promote_models",
        since=shift(hour, 1), decided_at=datetime(2026, 11, 23, 9, tzinfo=UTC), reasons=("all 1 gates passed",), gates=(FIGURE,),
    )  # fmt: skip
    return replace(made, **values)  # type: ignore[arg-type]


def test_a_decision_reads_back_as_it_was_written(settings):
    first = row(settings, FIRST)
    append_decision(settings, first, None)
    assert all_releases(settings) == [replace(first, gates=[FIGURE])]
    assert decision_for(settings, FIRST) == all_releases(settings)[0]
    assert decision_for(settings, shift(FIRST, 1)) is None


def test_the_release_in_force_is_the_newest_production_row_since_then(settings):
    for hour, stage, against in (
        (FIRST, "production", None), (shift(FIRST, 1), "rejected", "r000001"), (shift(FIRST, 2), "abstained", "r000001"),
        (shift(FIRST, 3), "production", "r000001"),
    ):  # fmt: skip
        append_decision(settings, row(settings, hour, stage), against)
    in_force = {hours: production_before(settings, shift(FIRST, hours)) for hours in range(6)}
    assert in_force[0] is None
    assert [in_force[hours].release_id for hours in (1, 2, 3)] == ["r000001"] * 3
    assert [in_force[hours].release_id for hours in (4, 5)] == ["r000004"] * 2
    assert release_in_force(settings, shift(FIRST, 2)).release_id == "r000001"


def test_a_named_release_is_in_force_whatever_the_hour(settings):
    append_decision(settings, row(settings, FIRST), None)
    append_decision(settings, row(settings, shift(FIRST, 1)), "r000001")
    assert release_in_force(settings, shift(FIRST, 9), "r000001").release_id == "r000001"
    with pytest.raises(UserError, match="no release r000009"):
        release_in_force(settings, FIRST, "r000009")


def test_an_hour_before_the_first_release_has_none(settings):
    with pytest.raises(UserError, match=f"no release is in force for {FIRST}"):
        release_in_force(settings, FIRST)
    append_decision(settings, row(settings, FIRST), None)
    with pytest.raises(UserError, match="no release is in force"):
        release_in_force(settings, FIRST)


def test_a_decision_against_a_champion_of_yesterday_is_refused(settings):
    append_decision(settings, row(settings, FIRST), None)
    append_decision(settings, row(settings, shift(FIRST, 1)), "r000001")
    with pytest.raises(ReleaseRace, match="production changed from r000001 to r000002"):
        append_decision(settings, row(settings, shift(FIRST, 2)), "r000001")
    assert [r.release_id for r in all_releases(settings)] == ["r000001", "r000002"]


def test_a_name_is_given_once(settings):
    append_decision(settings, row(settings, FIRST), None)
    with pytest.raises(ReleaseRace, match="took the name r000001"):
        append_decision(settings, row(settings, shift(FIRST, 1), release_id="r000001"), "r000001")


@pytest.mark.parametrize("stage", ["production", "rejected"])
def test_a_decision_that_lands_between_reading_and_writing_is_not_written_over(settings, monkeypatch, stage):
    append_decision(settings, row(settings, FIRST), None)
    ours, theirs = row(settings, shift(FIRST, 1)), row(settings, shift(FIRST, 2), stage)
    write = releases.append_rows

    def write_late(*args, **kwargs):
        monkeypatch.setattr(releases, "append_rows", write)
        append_decision(settings, theirs, "r000001")
        return write(*args, **kwargs)

    monkeypatch.setattr(releases, "append_rows", write_late)
    with pytest.raises(ReleaseRace, match="another decision landed"):
        append_decision(settings, ours, "r000001")
    assert [(r.release_id, r.hour) for r in all_releases(settings)] == [("r000001", FIRST), ("r000002", shift(FIRST, 2))]


RACERS = """
import sys
from dataclasses import replace
from pathlib import Path
from pipelines.registry.releases import ReleaseRace, all_releases, append_decision
from pipelines.settings import load_settings
settings, name = load_settings(Path(sys.argv[1]), {}), sys.argv[2]
for line in sys.stdin:  # a round begins for both at once
    champion = all_releases(settings)[-1]
    moved = replace(champion, release_id=f"r{int(champion.release_id[1:]) + 1:06d}", decided_by=name, compared_with=champion.release_id)
    print("ready", flush=True)
    sys.stdin.readline()
    try:
        append_decision(settings, moved, champion.release_id)
        print("moved", flush=True)
    except ReleaseRace:
        print("race", flush=True)
"""


def test_of_two_promoters_that_race_one_moves_production_and_the_other_is_told(settings):
    """Two processes that read the same champion, and write at the same moment without the lock that a step would take; ten times."""
    append_decision(settings, row(settings, FIRST), None)
    command = [sys.executable, "-c", RACERS, str(settings.home)]
    racers = [subprocess.Popen([*command, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for name in "ab"]

    def answers():
        for racer in racers:
            racer.stdin.write("go\n")
            racer.stdin.flush()
        return sorted(racer.stdout.readline().strip() for racer in racers)

    for _ in range(10):
        assert answers() == ["ready", "ready"] and answers() == ["moved", "race"]
    for racer in racers:
        racer.communicate()
    rows = all_releases(settings)
    assert [r.release_id for r in rows] == [f"r{n:06d}" for n in range(1, 12)]
    assert [r.compared_with for r in rows[1:]] == [f"r{n:06d}" for n in range(1, 11)], "there is never no production, and never two"
