from pipelines.registry.gates import Figure
from pipelines.registry.model_card import Card, fixed, model_card, number

TAGS = {"hour": "2026-11-23T10", "code_version": "abc123abc123", "seed": "7", "hours": "2026-11-23T08..2026-11-23T10"}


def lines(card: Card) -> list[str]:
    return model_card(card).replace("&ensp;", "").splitlines()


def test_a_card_tells_inputs_figures_and_how_to_load():
    metrics = {"auc.frozen": 0.7, "auc.lineage": 0.72, "loss": 0.3}
    found = lines(Card("ranker", "recloop-video-ranker", "12", {"training_examples": "delta:41"}, {}, metrics, TAGS))
    assert found[0] == "**Ranker of 2026-11-23T10, version 12**"
    assert "| training_examples | 41 |" in found
    assert "- auc: frozen 0.7, lineage 0.72" in found and "- loss: 0.3" in found
    assert 'model = mlflow.pyfunc.load_model("models:/recloop-video-ranker/12")' in found
    assert any("code abc123abc123" in line and "hours 2026-11-23T08..2026-11-23T10" in line for line in found)
    assert "Not decided yet: a candidate." in found


def test_a_decision_stands_on_top_and_its_gates_in_a_table():
    gates = [Figure("AUC per user", "fail", -0.01, -0.02, 0.001, -0.003, 9000), Figure("exposure", "abstain", None, None, None, 0.0, 0)]
    tags = TAGS | {"decision": "rejected", "release_id": "r000012", "reasons": "AUC per user: -0.02,\nwanted above | -0.003"}
    found = lines(Card("policy", "recloop-video-policy", "3", tags=tags, gates=gates))
    assert found[2] == "**r000012: rejected.** AUC per user: -0.02, wanted above \\| -0.003"
    assert "| AUC per user | fail | -0.0100 | -0.0200 to 0.0010 | -0.0030 | 9000 |" in found
    assert "| exposure | abstain | – | – to – | 0.0000 | 0 |" in found
    assert not any("Not decided" in line for line in found)


def test_a_table_has_no_line_between_its_rows():
    found = lines(Card("ranker", "m", "1", {"a": "delta:1", "b": "delta:2"}, tags=TAGS))
    start = found.index("| table | Delta version |")
    assert found[start + 1 : start + 4] == ["|:--|:--|", "| a | 1 |", "| b | 2 |"]
    assert found[start - 1] == "" and found[start + 4] == ""


def test_numbers():
    assert [number(value) for value in (None, 0.0, 0.123456, 1234.5, 17806.0, 0.00001234, -1.0)] == [
        "–", "0", "0.1235", "1234", "17,806", "1.2e-05", "-1",
    ]  # fmt: skip
    assert [fixed(value) for value in (None, 0.00001, -0.5)] == ["–", "0.0000", "-0.5000"]
