"""What an evaluation found, on the screen."""

from collections.abc import Mapping

from rich.console import Console
from rich.table import Table

from models.metrics import auc
from pipelines.evaluation.figures import Scored
from pipelines.evaluation.walk import HOURLY, ScoredHour
from pipelines.local.screen import plain_table


def print_hour(console: Console, found: ScoredHour) -> None:
    users, items = found.view.known(found.part)
    value = auc(found.part["label"].to_numpy(), found.logits[HOURLY.name][:, 0])
    met = f"{(~users).sum():,} rows of new users, {(~items).sum():,} of new items"
    console.print(f"{found.hour}  {len(found.rows):,} rows  AUC {value:.4f}  {met}", highlight=False)


def print_scored(console: Console, by_task: Mapping[str, Scored]) -> None:
    """The first task with all its slices, the others on all rows."""
    for number, (task, scored) in enumerate(by_task.items()):
        console.print(_figures(task, scored, number == 0), _gains(task, scored, number == 0), sep="\n")


def _figures(task: str, scored: Scored, slices: bool) -> Table:
    table = plain_table(
        f"All candidates, {task}", "slice", "arm", "rows", "users", "AUC\na set", "AUC\na user", "AUC\npooled", "nDCG@10", "NE", "ECE"
    )
    for one in scored.figures():
        if slices or one.slice == "all":
            numbers = (one.auc_per_set, one.auc_per_user, one.auc, one.ndcg_10, one.normalized_entropy, one.ece)
            table.add_row(one.slice, one.arm, f"{one.rows:,}", f"{one.users:,}", *[f"{number:.4f}" for number in numbers])
    return table


def _gains(task: str, scored: Scored, slices: bool) -> Table:
    title = f"What the {HOURLY.name} arm gains, {task}, AUC within a set, 95 % over users"
    table = plain_table(title, "slice", "over", "gain", "low", "high", "sets")
    for one in scored.gains(HOURLY.name):
        if slices or one.slice == "all":
            table.add_row(one.slice, one.over, *[f"{number:+.4f}" for number in (one.gain, one.low, one.high)], f"{one.sets:,}")
    return table
