"""How far apart two arms of the same models come out in staging: what a challenger's lift has to stand out from."""

from pipelines.lake.metrics import Metric
from pipelines.registry.releases import MAIN
from pipelines.registry.report_data import ReportData
from pipelines.registry.staging import SAME

_LIFT = "staging_lift"


def noise_sentence(data: ReportData) -> str:
    """The last comparison of production with itself, beside the last challenger's; empty where there was none."""
    noise, challenger = _newest(data, same=True), _newest(data, same=False)
    if noise is None:
        return ""
    beside = f"; the last challenger {_words(challenger)}" if challenger else ""
    return f" Noise floor: production against production with another seed {_words(noise)}{beside}."


def _newest(data: ReportData, same: bool) -> Metric | None:
    """The last figure of the challengers that are, or are not, production with another seed."""
    kinds = {row.lineage: row.kind for row in data.releases if row.lineage != MAIN}
    points = [
        (hour, metric) for lineage, by_hour in data.named(_LIFT).items() if lineage in kinds and (kinds[lineage] == SAME) == same
        for hour, metric in by_hour.items()
    ]  # fmt: skip
    return max(points, key=lambda found: found[0])[1] if points else None


def _words(found: Metric) -> str:
    ends = "" if found.low is None or found.high is None else f" ± {(found.high - found.low) / 2:.1%}"
    return f"{found.value:+.1%}{ends} over {found.n or 0:,} users' hours"
