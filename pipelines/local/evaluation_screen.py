"""What an evaluation found, on the screen."""

from rich.console import Console
from rich.table import Table

from models.metrics import auc
from pipelines.evaluation.figures import Scored
from pipelines.evaluation.walk import HOURLY, ScoredHour
from pipelines.local.screen import plain_table


def print_hour(console: Console, found: ScoredHour) -> None:
    users, items = found.view.known(found.part)
    value = auc(found.part["label"].to_numpy(), found.logits[HOURLY.name])
    met = f"{(~users).sum():,} rows of new users, {(~items).sum():,} of new items"
    console.print(f"{found.hour}  {len(found.rows):,} rows  AUC {value:.4f}  {met}", highlight=False)


def print_scored(console: Console, scored: Scored) -> None:
    console.print(_figures(scored), _gains(scored), sep="\n")


def _figures(scored: Scored) -> Table:
    table = plain_table(
        "All candidates", "slice", "arm", "rows", "users", "AUC\na set", "AUC\na user", "AUC\npooled", "nDCG@10", "NE", "ECE"
    )
    for one in scored.figures():
        numbers = (one.auc_per_set, one.auc_per_user, one.auc, one.ndcg_10, one.normalized_entropy, one.ece)
        table.add_row(one.slice, one.arm, f"{one.rows:,}", f"{one.users:,}", *[f"{number:.4f}" for number in numbers])
    return table


def _gains(scored: Scored) -> Table:
    title = f"What the {HOURLY.name} arm gains, AUC within a set, 95 % over users"
    table = plain_table(title, "slice", "over", "gain", "low", "high", "sets")
    for one in scored.gains(HOURLY.name):
        table.add_row(one.slice, one.over, *[f"{number:+.4f}" for number in (one.gain, one.low, one.high)], f"{one.sets:,}")
    return table
