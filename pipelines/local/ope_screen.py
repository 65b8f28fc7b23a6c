"""What ``recloop ope`` prints."""

from typing import TYPE_CHECKING

from rich.table import Table

if TYPE_CHECKING:
    from rich.console import Console

    from models.ope import Interval
    from pipelines.evaluation.decision_log import Judged


def print_judged(console: "Console", found: "Judged") -> None:
    """A line an estimator, what the weights look like, and the verdict."""
    result = found.result
    table = Table("estimator", f"reward a {found.unit}", "less what was earned", box=None)
    table.add_row("earned by the log", _shown(result.earned), "")
    for name, value in result.values.items():
        table.add_row(name, _shown(value), _shown(result.differences[name], "+"))
    console.print(table)
    print(
        f"{result.rows:,} {found.unit}s; effective sample size {result.effective_sample_size:,.0f}, "
        f"largest weight {result.max_importance_weight:.3g}, mean weight {result.mean_weight:.4f} (1 where propensities are right), "
        f"{result.clipped_fraction:.2%} of the weights clipped, "
        + ("mass outside the log's support not given" if result.outside is None else f"{result.outside:.2%} of the mass outside")
    )
    print(f"verdict by {found.by}: {found.verdict}")


def _shown(value: "Interval", sign: str = "") -> str:
    return f"{value.mean:{sign}.5f} [{value.low:{sign}.5f}, {value.high:{sign}.5f}]"
