"""What a file of candidates must be; that its scores are right is shown in the system test, beside what training saw."""

import pytest

from pipelines.errors import UserError
from pipelines.evaluation.candidate_sets import of_task, read_candidates
from pipelines.evaluation.evaluate import evaluate

HEAD = "impression_id,user,item,ts,label\n"
TASKS = ("click", "watch", "rating")
ROW = "s1,u1,m1,2026-11-10T09:05:00+00:00,1\n"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("impression_id,user,item,ts\n", "has no column label; found impression_id, user, item, ts"),
        (HEAD, "holds no candidates"),
        (HEAD + ROW.replace("+00:00", ""), "has no offset; ts is ISO 8601 with an offset"),
        (HEAD + ROW.replace(",1\n", ",yes\n"), "label a number"),
        (HEAD + ROW.replace("u1", ""), "has empty cells"),
        (HEAD + ROW + "one,two\n", "cannot be read"),
        (HEAD.replace("\n", ",label_wacth\n") + ROW.replace("\n", ",1\n"), "label_wacth; the tasks are click, watch, rating"),
        (HEAD.replace("\n", ",label_watch\n") + ROW.replace("\n", ",much\n"), "label_<task> is a number"),
        (HEAD + ROW, "table training_examples does not exist"),
    ],
)
def test_a_file_that_cannot_be_scored_is_one_line_and_nothing_is_written(settings, tmp_path, content, said):
    (tmp_path / "c.csv").write_text(content)
    with pytest.raises(UserError, match=said):
        evaluate(settings, tmp_path / "c.csv", tmp_path / "out.csv")
    assert not list(tmp_path.glob("*out.csv*"))
    with pytest.raises(UserError, match="no file"):
        evaluate(settings, tmp_path / "other.csv", tmp_path / "out.csv")


def test_what_was_searched_for_is_read_where_it_stands(tmp_path):
    asked = [ROW.replace("\n", f",{query}\n") for query in (" red  shoes", "", " ")]
    (tmp_path / "c.csv").write_text(HEAD.replace("\n", ",query\n") + "".join(asked))
    assert read_candidates(tmp_path / "c.csv", TASKS)["query"].to_pylist() == ["red shoes", None, None]
    (tmp_path / "d.csv").write_text(HEAD + ROW)
    assert read_candidates(tmp_path / "d.csv", TASKS)["query"].to_pylist() == [None]


def test_labels_of_further_tasks_and_the_surface_are_read_where_they_stand(tmp_path):
    (tmp_path / "c.csv").write_text(HEAD.replace("\n", ",label_watch,surface\n") + ROW.replace("\n", ",0.25,home\n"))
    found = read_candidates(tmp_path / "c.csv", TASKS)
    assert found["surface"].to_pylist() == ["home"]
    labels = [of_task(found, task, task == "click") for task in ("click", "watch", "rating")]
    assert [part and part["label"].to_pylist() for part in labels] == [[1.0], [0.25], None]
