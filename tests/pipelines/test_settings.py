"""Settings: precedence, and one clear line for whatever is wrong."""

import pytest

from pipelines.settings import DOMAINS, SettingsError, load_settings


def write(home, text):
    home.mkdir(exist_ok=True)
    (home / "recloop.yaml").write_text(text)
    return home


def test_each_later_source_wins_key_by_key(tmp_path):
    home = write(tmp_path, "seed: 8\nslates: {size: 5, candidates: 50}\n")
    found = load_settings(home, {"RECLOOP__SLATES__SIZE": "6", "OTHER__SEED": "1"})
    assert (found.seed, found.slates.size, found.slates.candidates, found.slates.surface) == (8, 6, 50, "home")


def test_one_tables_objective_changes_alone_and_null_takes_it_away(tmp_path):
    found = load_settings(write(tmp_path, "objectives: {freshness_h: {scores: 6, feedback: null}}"), {}).objectives.freshness_h
    assert (found["scores"], found["feedback"], found["user_features"]) == (6, None, 2)


@pytest.mark.parametrize("domain", DOMAINS)
def test_every_domain_is_whole(tmp_path, domain):
    found = load_settings(tmp_path, {"RECLOOP__DOMAIN": domain})
    assert found.domain == domain and found.reward.version.startswith(domain)
    assert set(found.reward.tasks) <= set(found.attribution_h)
    assert max(found.attribution_h[task] for task in found.reward.tasks) <= found.reward.horizon_h


def test_the_root_is_the_argument_else_the_environment_else_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_settings(tmp_path / "a", {"RECLOOP_HOME": "/b"}).home == tmp_path / "a"
    assert str(load_settings(None, {"RECLOOP_HOME": "/b"}).home) == "/b"
    assert load_settings(None, {}).home == tmp_path / ".recloop"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("domain: books", "unknown domain 'books'; legal values: ecommerce, video, social"),
        ("sed: 8", "unknown key sed; legal keys here: .*seed"),
        ("slates: {sizes: 8}", "unknown key slates.sizes; legal keys here: .*size"),
        ("slates: {size: 20, candidates: 10}", r"slates: .*candidates \(10\) must be at least size \(20\)"),
        ("slates: {retrieved: 30}", r"slates: .*retrieved \(30\) must be at least candidates \(50\)"),
        ("slates: {size: ten}", "slates.size: .*found 'ten'"),
        ("lake: {start_hour: 2026-11-10}", "lake.start_hour: "),
        ("seed: [1", "recloop.yaml: not YAML: .*mend or remove the file"),
        ("- a\n- b", "found a list, expected keys and values"),
        ("lake: {sources: [{kind: feedback, url: x}]}", r"unknown key lake.sources.0.url; legal keys here: .*brokers.*uri"),
        ("lake: {sources: [{kind: views, uri: x}]}", "lake.sources.0.kind: .*found 'views'"),
        ("lake: {sources: [{kind: items, topic: x}]}", "lake.sources.0: .*a source has either uri, or brokers and topic"),
        ("lake: {sources: [{kind: items, uri: s, topic: x, brokers: b}]}", "a source has either uri, or brokers and topic"),
        (
            "lake: {sources: [{kind: items, topic: x, brokers: a}, {kind: items, topic: x, brokers: b}]}",
            "two topics land as x; give one of them another name",
        ),
        (
            "objectives: {freshness_h: {score: 2}}",
            r"objectives.freshness_h.score\S*: .*no hour writes this table; legal keys here: feedback, .*scores.*found 'score'",
        ),
        ("objectives: {freshness_h: {scores: 0}}", "objectives.freshness_h.scores: .*greater than 0; found 0"),
        ("objectives: {freshness: {scores: 2}}", "unknown key objectives.freshness; legal keys here: coverage, freshness_h, .*webhook"),
        ("objectives: {coverage: 30}", "objectives.coverage: .*less than or equal to 1; found 30"),
        ("objectives: {webhook: hooks.example.com}", "objectives.webhook: .*https.*found 'hooks.example.com'"),
        ("airflow: {schedule: daily}", "airflow.schedule: .*'hourly' or 'manual'.*found 'daily'"),
    ],
)
def test_what_is_wrong_is_one_line_that_names_key_and_remedy(tmp_path, text, expected):
    with pytest.raises(SettingsError, match=expected) as raised:
        load_settings(write(tmp_path, text), {})
    assert "\n" not in str(raised.value)


def test_an_unknown_key_in_the_environment_is_named_too(tmp_path):
    with pytest.raises(SettingsError, match=r"unknown key slates\.colour"):
        load_settings(tmp_path, {"RECLOOP__SLATES__COLOUR": "red"})


def test_settings_do_not_change_and_keep_their_folders_under_the_root(tmp_path):
    found = load_settings(tmp_path, {})
    with pytest.raises(ValueError, match="frozen"):
        found.seed = 9
    for folder in (found.warehouse, found.landing, found.releases, found.run_folder, found.logs, found.truth):
        assert folder.parent == tmp_path
