"""The gates of a refresh: figures in, one decision out. Pure: it reads no table and no registry."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal, get_args

import yaml

from pipelines.errors import UserError

Side = Literal["low", "high", "value", "reach", "reach_below"]
AUDIT_ERROR = 1e-6  # a logged propensity that is further from the recomputed one makes the hour's policy figures invalid
CONFIDENCE = 0.98  # of a gate's interval: what is worse than its bound lies above it by chance in 1 % of hours
POLICY_FILE = Path(__file__).parents[2] / "mlflow" / "promotion.yaml"
_SLICE, _OF = "{slice}", " of "


@dataclass(frozen=True)
class Gate:
    """A bound on one figure. ``side``: ``low`` must lie above the bound, ``high`` below it, ``value`` within [bound, upper].

    ``reach``: the interval must reach above the bound, and below ``upper`` where there is one, so that only what is shown fails;
    ``reach_below``: it must reach below the bound.
    A ``guard`` holds nothing back by lacking evidence, as most roots and hours have none for it.
    slice: a pattern; the gate is then asked of each slice that was measured and fits it, and its name says ``{slice}`` where that goes.
    One that ``abstains`` does not fail: beyond its bound the evidence says nothing.
    """

    name: str
    figure: str
    side: Side
    bound: float
    least_n: int
    upper: float | None = None
    guard: bool = False
    slice: str | None = None
    abstains: bool = False


@dataclass(frozen=True)
class Measured:
    """A figure with its interval; ``n`` is what ``least_n`` counts (rows, slates, or effective sample size)."""

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Figure:
    """How one gate came out: pass, fail or abstain."""

    gate: str
    outcome: str
    value: float | None
    low: float | None
    high: float | None
    bound: float
    n: int


@dataclass(frozen=True)
class Decision:
    """promote: every gate passed; reject: one failed; abstain: none failed, one lacks evidence."""

    verdict: Literal["promote", "reject", "abstain"]
    reasons: tuple[str, ...]
    figures: tuple[Figure, ...]


def load_gates(kind: str, path: Path = POLICY_FILE) -> list[Gate]:
    """The gates of a kind of release (``refresh``), from the promotion policy. Raises UserError for a policy that cannot judge."""
    try:
        gates = [Gate(**row) for row in yaml.safe_load(path.read_text(encoding="utf-8"))["gates"][kind]]
    except (OSError, yaml.YAMLError, TypeError, KeyError) as error:
        expected = "expected `gates:` with a list of {name, figure, side, bound, least_n} for each kind of release"
        raise UserError(f"{path}: no gates for {kind!r} ({type(error).__name__}: {' '.join(str(error).split())}); {expected}") from None
    unknown = sorted({gate.side for gate in gates} - set(get_args(Side)))
    if unclear := [gate.name for gate in gates if (_SLICE in gate.name) != (gate.slice is not None)]:
        wanted = f"expected {_SLICE} in the names of gates that have a `slice:`, and in no other"
        raise UserError(f"{path}: gate {unclear[0]!r} of {kind!r}; {wanted}")
    if not gates or unknown or len({gate.name for gate in gates}) < len(gates):
        wrong = f"unknown sides {unknown}" if unknown else "two gates of one name" if gates else "no gate at all"
        raise UserError(f"{path}: {wrong} for {kind!r}; expected gates of different names with a side of {', '.join(get_args(Side))}")
    return gates


def bound_of(kind: str, figure: str) -> float:
    """Above what the lower end of the figure must lie; minus infinity where no gate asks."""
    return max((gate.bound for gate in load_gates(kind) if gate.figure == figure and gate.side == "low"), default=-math.inf)


def decide_promotion(measured: Mapping[str, Measured], gates: Sequence[Gate]) -> Decision:
    """Reject if any gate fails, else abstain if any lacks evidence, else promote. ``measured``: candidate against production.

    A guard that nobody measured is not asked, and one that lacks evidence is shown and stops nothing.
    """
    asked = [one for gate in gates for one in _of_slices(gate, measured) if not one.guard or one.figure in measured]
    judged = [(gate, _judge(gate, measured.get(gate.figure))) for gate in asked]
    figures = tuple(figure for _, figure in judged)
    binding = [(gate, figure) for gate, figure in judged if figure.outcome == "fail" or not gate.guard]
    for outcome, verdict in (("fail", "reject"), ("abstain", "abstain")):
        found = tuple(_sentence(gate, figure) for gate, figure in binding if figure.outcome == outcome)
        if found:
            return Decision(verdict, found, figures)  # type: ignore[arg-type]
    passed = sum(figure.outcome == "pass" for figure in figures)
    return Decision("promote", (f"all {passed} gates passed",), figures)


def shown_worse(figures: Sequence[Figure], gates: Sequence[Gate]) -> bool:
    """Whether a rejected candidate is worse, and not only not known to be as good: a whole interval lies beyond a bound.

    So it is too where no gate failed (a person rejected it), and where a gate that failed is none of these any more.
    """
    failed = [figure for figure in figures if figure.outcome == "fail"]
    return not failed or any(_whole_interval_fails(figure, gate_named(figure.gate, gates)) for figure in failed)


def gate_named(name: str, gates: Sequence[Gate]) -> Gate | None:
    """The gate that a figure of this name came from; None for one of another time."""
    return next((gate for gate in gates if fnmatchcase(name, gate.name.replace(_SLICE, "*"))), None)


def sliced(figure: str, slice_name: str) -> str:
    """What a figure is called by gates where it is of these rows only."""
    return f"{figure}{_OF}{slice_name}"


def slice_of(figure: str) -> tuple[str, str | None]:
    """The figure and its slice; None where it is of all rows."""
    name, _, slice_name = figure.partition(_OF)
    return name, slice_name or None


def _of_slices(gate: Gate, measured: Mapping[str, Measured]) -> Iterator[Gate]:
    """The gate itself, or one for each slice that it is asked of."""
    if gate.slice is None:
        yield gate
        return
    for found in sorted(measured):
        figure, name = slice_of(found)
        if figure == gate.figure and name is not None and fnmatchcase(name, gate.slice):
            yield replace(gate, name=gate.name.replace(_SLICE, name), figure=found, slice=None)


def _whole_interval_fails(figure: Figure, gate: Gate | None) -> bool:
    side = gate.side if gate else None
    if side == "low" and figure.high is not None:
        return figure.high < figure.bound
    if side == "high" and figure.low is not None:
        return figure.low > figure.bound
    return True


def _judge(gate: Gate, found: Measured | None) -> Figure:
    if found is None:
        return Figure(gate.name, "abstain", None, None, None, gate.bound, 0)
    holds = {
        "low": found.low > gate.bound,
        "high": found.high < gate.bound,
        "reach": found.high > gate.bound and (gate.upper is None or found.low < gate.upper),
        "reach_below": found.low < gate.bound,
        "value": gate.bound <= found.value <= (gate.upper if gate.upper is not None else float("inf")),
    }[gate.side]
    outcome = "abstain" if found.n < gate.least_n or (gate.abstains and not holds) else ("pass" if holds else "fail")
    return Figure(gate.name, outcome, found.value, found.low, found.high, gate.bound, found.n)


def _sentence(gate: Gate, figure: Figure) -> str:
    if figure.value is None:
        return f"{gate.name}: not measured"
    if figure.n < gate.least_n:
        return f"{gate.name}: n={figure.n}, at least {gate.least_n} needed"
    reached = figure.low if gate.upper is not None and figure.low is not None and figure.low >= gate.upper else figure.high
    side = {"low": figure.low, "high": figure.high, "value": figure.value, "reach": reached, "reach_below": figure.low}[gate.side]
    word = {"low": "above", "high": "below", "value": "from", "reach": "above", "reach_below": "below"}[gate.side]
    upper = f" {'to' if gate.side == 'value' else 'and below'} {gate.upper}" if gate.upper is not None else ""
    interval = f"{figure.value:.4f} [{figure.low:.4f}, {figure.high:.4f}], n={figure.n}"
    return f"{gate.name}: {side:.4f}, wanted {word} {gate.bound}{upper} ({interval})"
