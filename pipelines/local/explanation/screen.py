"""An explanation on the screen, from the row back to what it rests on."""

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipelines.local.explanation.records import Attempt, DrawExplained, Effect, Explanation, Learned, Reaction, ScoreExplained
from pipelines.local.screen import plain_table
from pipelines.local.summary import verdict
from pipelines.registry.releases import ReleaseRow

_SHOWN_PASSES = 6


def print_explanation(console: Console, found: Explanation) -> None:
    draw = found.draw
    console.print(Text(f"{found.title} ({found.item_id}) at position {draw.position + 1} for {found.user_id}", "bold"))
    for line in draw_lines(draw):
        console.print(line, markup=False, soft_wrap=True)
    console.print(_slate(draw), *_score(found.score), *_release(found.release), *_origins(found), sep="\n")


def draw_lines(draw: DrawExplained) -> list[str]:
    """What the draw was, in sentences."""
    rule = "; a rule pinned it here" if draw.pinned else f"; a rule added {draw.rule_offset:+.2f} to its logit" if draw.rule_offset else ""
    agree = f"to {draw.propensity_error:.1g}" if draw.propensity_error else "exactly"
    by = {"policy": "the policy's logits", "cold_start": "popularity: nothing was known of the user"}
    return [
        f"slate {draw.slate_id} of {draw.hour}, drawn by {draw.release_id} for arm {draw.arm} ({draw.arm_share:.0%} of the users), by "
        f"{by.get(draw.source, 'popularity: the slate for whom nobody knows')}",
        f"here with probability {draw.propensity:.4f} given the items above, first with {draw.first_probability:.4f}; the slate down to "
        f"here {draw.prefix_probability:.3g}; logged propensities agree with the logged logits {agree}",
        f"of {draw.candidates} candidates number {draw.rank} by logit ({draw.logit:.3f}), number {draw.rank_by_score} by score; "
        f"temperature {draw.temperature:.3f}, rules {draw.rules}{rule}{f'; {draw.reason}' if draw.reason else ''}",
    ]


def score_line(score: ScoreExplained) -> str:
    tasks = "".join(f", {task} {probability:.3f}" for task, probability in score.probabilities.items())
    agrees = f"; recomputed by the release at the pinned versions, within {score.recomputed_error:.1g}" if not score.note else ""
    return f"Expected reward {score.expected_reward:.4f}, log-odds {score.log_odds:+.3f}{tasks}{agrees}"


def told_reactions(reactions: Sequence[Reaction]) -> str:
    """Kinds with their values, oldest first; repeated ones counted."""
    texts = [one.type if one.value is None else f"{one.type} {one.value:g}" for one in reactions]
    counts = {text: texts.count(text) for text in texts}
    return ", ".join(f"{text} ×{count}" if count > 1 else text for text, count in counts.items()) or "not in feedback"


def told_versions(versions: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))


def _slate(draw: DrawExplained) -> Table:
    table = plain_table("The slate", "#", "title", "item", "score", "logit", "rank", "propensity")
    for row in draw.slate:
        numbers = (f"{row.score:.3f}", f"{row.logit:.3f}", str(row.rank), f"{row.propensity:.4f}")
        style = "bold" if row.position == draw.position else ""
        table.add_row(*(Text(cell, style) for cell in (str(row.position + 1), row.title, row.item_id, *numbers)))
    return table


def _score(score: ScoreExplained) -> list[Table | Text]:
    line = Text(score_line(score))
    if score.note:
        return [line, Text(score.note, "yellow")]
    title = "What moved the score, by ablation: log-odds with it less log-odds with other candidates' features, or without the user's"
    groups = plain_table(title, "features", "over the others", "expected reward", "first task", "the item's (mean of the others)")
    for one in score.groups:
        values = ", ".join(f"{value.name} {value.own:.3g} ({value.others:.3g})" for value in one.values)
        groups.add_row(one.group, *_numbers(one.effect), values)
    if not score.events:
        return [line, groups, Text("There is no history: no event of the person's own went into it.")]
    title = f"The person's own events that mattered most, of the last {score.history}"
    events = plain_table(title, "when (UTC)", "title", "item", "reactions", "over the others", "expected reward", "first task")
    for event in score.events:
        cells = (f"{event.ts:%Y-%m-%d %H:%M}", event.title, event.item_id, told_reactions(event.reactions))
        events.add_row(*map(Text, cells), *_numbers(event.effect))
    return [line, groups, events]


def _numbers(effect: Effect) -> tuple[str, str, str]:
    return f"{effect.lead:+.3f}", f"{effect.log_odds:+.3f}", f"{effect.first_task:+.3f}"


def release_line(release: ReleaseRow) -> str:
    versions = ", ".join(f"{kind} v{version}" for kind, version in release.versions.items())
    against = f", against {release.compared_with}" if release.compared_with else ""
    return (
        f"Release {release.release_id} ({versions}): {release.kind} of lineage {release.lineage}, {verdict(release)} by "
        f"{release.decided_by} of {release.hour}{against}, in force from {release.since}: {'; '.join(release.reasons)}"
    )


def _release(release: ReleaseRow) -> list[Table | Text]:
    if not release.gates:
        return [Text(release_line(release))]
    table = plain_table("Its gates", "gate", "outcome", "value", "low", "high", "bound", "n")
    for gate in release.gates:
        numbers = ["" if value is None else f"{value:.4f}" for value in (gate.value, gate.low, gate.high)]
        table.add_row(gate.gate, gate.outcome, *numbers, f"{gate.bound:g}", f"{gate.n:,}")
    return [Text(release_line(release)), table]


def learned_line(learned: Learned) -> str:
    """Which hours a model is made of, and what it began from."""
    hours = sum(one.hours for one in learned.passes)
    ends = dict.fromkeys((learned.passes[-1].first_hour, learned.passes[0].last_hour)) if learned.passes else ()
    span = f" {' to '.join(ends)}," if ends else ""
    beside = f"; served on the way there from the one of {learned.beside}, in production then" if learned.beside else ""
    passes = f"{hours} hour{'s' * (hours != 1)} in {len(learned.passes)} pass{'es' * (len(learned.passes) != 1)}"
    return f"{learned.kind} v{learned.version}, first in {learned.released}:{span} {passes}, begun from {learned.start}{beside}"


def _origins(found: Explanation) -> list[Table | Text]:
    table = plain_table("Attempts behind it, and the Delta versions that they read", "step", "hours", "attempt", "read", "detail")
    if found.scoring:
        _add(table, found.scoring)
    for learned in found.learned:
        for one in learned.passes[:_SHOWN_PASSES]:
            _add(table, one)
        if (more := len(learned.passes) - _SHOWN_PASSES) > 0:
            table.add_row(learned.passes[-1].step, f"and {more} earlier passes, from {learned.passes[-1].first_hour} on")
    missing = [] if found.scoring else [Text("the ledger has no scoring of this hour that read the pinned versions", "yellow")]
    return [*(Text(learned_line(one)) for one in found.learned), *missing, table]


def _add(table: Table, one: Attempt) -> None:
    hours = one.last_hour if one.hours == 1 else f"{one.first_hour}..{one.last_hour}"
    table.add_row(one.step, hours, str(one.attempt), told_versions(one.inputs), Text(one.detail))
