"""Limits and commands of a card come from the version's own facts: what is not known is not said."""

from pipelines.registry.card_limits import commands, limits
from pipelines.registry.gates import Figure
from pipelines.registry.model_card import Card, model_card

TAGS = {
    "hour": "2026-11-23T10", "first_hour": "2026-11-20T00", "seed": "7", "lock_hash": "0123456789ab", "step": "finetune_ranker",
    "mlflow.source.git.commit": "c0ffee", "encoder_version": "e25201393d22",
}  # fmt: skip
PARAMS = {
    "tasks": "click, watch", "label_windows_h": "click 1, watch 24", "judged_rows": "55043", "judged_users": "1204",
    "judged_hours": "2026-11-22T11..2026-11-23T10", "thin_slices": "cold users (380 rows, 99 positive)", "held_hours": "2026-11-23T02",
    "examples": "900", "negatives": "400 sampled, never shown",
}  # fmt: skip
GATES = [
    Figure("AUC per user", "pass", 0.01, 0.0, 0.02, -0.003, 55043), Figure("policy value", "abstain", 0.01, -0.1, 0.1, -0.01, 412),
    Figure("forgetting, 30 days", "pass", 0.0, 0.0, 0.0, -0.003, 9000),
]  # fmt: skip


def test_a_ranker_tells_what_it_was_judged_by_and_what_it_lacks():
    found = limits(Card("ranker", "m", "1", params=PARAMS, metrics={"update_share.ranker": 0.16}, tags=TAGS, gates=GATES))
    assert found == [
        "Predicts click, watch, and no other reaction.",
        "Judged on 55,043 impressions of 1,204 users of the gate fold, hours 2026-11-22T11..2026-11-23T10, by click alone (counted for "
        "1 h, so the newest hours' labels may still grow). By watch (24 h) only what is shown to be worse fails, on rows old enough for "
        "nine tenths of the reactions.",
        "Too few rows to tell how it does for: cold users (380 rows, 99 positive).",
        "Neither learned from nor judged by held hours: 2026-11-23T02.",
        "Of its 900 newest examples 400 sampled, never shown: their base rate is the sampler's.",
        "Serves 16% of the way from production to what was learned: the log cannot judge more.",
        "Judged by logged impressions and slates alone; no user was shown it on trial.",
        "Reads text vectors of encoder e25201393d22 only.",
        "Evidence was missing for: policy value (n=412).",
    ]


def test_what_holds_is_no_limit():
    params = PARAMS | {"label_windows_h": "click 1", "thin_slices": "none", "held_hours": "none", "negatives": "shown"}
    found = limits(Card("ranker", "m", "1", params=params, metrics={"update_share.ranker": 1.0}, tags=TAGS, gates=GATES[:1]))
    words = " ".join(found)
    assert all(word not in words for word in ("Too few", "held", "sampled", "Serves", "No gate", "missing"))
    assert found[-1] == "Not compared with a full retrain: what hourly learning has forgotten is not known."


def test_a_first_version_was_judged_by_nothing_and_an_old_card_says_nothing():
    assert "Judged by nothing yet" in limits(Card("ranker", "m", "1", params={"tasks": "click"}))[0]
    assert limits(Card("ranker", "m", "1")) == limits(Card("policy", "m", "1")) == limits(Card("encoder", "m", "1")) == []


def test_a_policy_tells_its_slates_and_its_temperature():
    params = {"learner": "reinforce", "judged_slates": "5493", "effective_slates": "1210"}
    found = limits(Card("policy", "m", "1", params=params, metrics={"temperature": 0.2345}))
    assert found[0].startswith("Judged on 5,493 logged slates of the gate fold, worth 1,210 of its own")
    assert found[1].startswith("Temperature 0.234: ") and len(found) == 2
    assert limits(Card("policy", "m", "1", params={"learner": "reinforce"})) == ["Judged by nothing yet: no slate was logged for it."]


def test_commands_name_code_environment_seed_and_hours():
    assert commands(Card("ranker", "m", "1", tags=TAGS)) == [
        "git checkout c0ffee", "sha256sum requirements.lock   # begins with 0123456789ab", "make setup",
        "# a new folder that holds the root's recloop.yaml and landing/", "export RECLOOP_HOME=NEW RECLOOP__SEED=7",
        ".venv/bin/recloop backfill --from 2026-11-20T00 --to 2026-11-23T10",
    ]  # fmt: skip
    assert commands(Card("ranker", "m", "1", tags=TAGS | {"step": "retrain_ranker"}))[-1] == ".venv/bin/recloop retrain 2026-11-23T10"
    adapted = commands(Card("encoder", "m", "1", params={"method": "mlm"}, tags=TAGS | {"step": "adapt_encoder"}))
    assert adapted[-1] == ".venv/bin/recloop adapt-encoder 2026-11-23T10 --method mlm"


def test_the_card_holds_both_and_a_value_breaks_no_list():
    card = Card("ranker", "m", "1", {"a": "delta:1"}, PARAMS | {"held_hours": "x\n\n# y"}, {}, TAGS, GATES)
    lines = model_card(card).splitlines()
    start, end = lines.index("**Limits**"), lines.index("**Load it**")
    assert [line for line in lines[start + 2 : end - 1] if not line.startswith("- ")] == []
    assert lines[lines.index("**Reproduce**") + 3] == "git checkout c0ffee"
    assert "**Limits**" not in model_card(Card("encoder", "m", "1", tags=TAGS))
