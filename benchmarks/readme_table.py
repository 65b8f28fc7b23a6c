"""The README's table of measured claims, out of benchmarks/results/*.json: ``python benchmarks/readme_table.py``."""

import json
from pathlib import Path

RESULTS = Path(__file__).parent / "results"


def render() -> str:
    """One row a claim."""
    lines = ["| claim | measured | goal | met |", "|---|---|---|---|"]
    for path in sorted(RESULTS.glob("*.json")):
        lines.append(_row(json.loads(path.read_text(encoding="utf-8"))))
    return "\n".join(lines) + "\n"


def _row(result: dict) -> str:
    if "measured" in result:
        measured, goal = result["measured"], result["goal_text"]
    elif "difference" in result:
        measured = f"{result['ours']:.2f} against {result['peer']:.2f} ({result['peer_name']}): {result['difference']:+.3f} "
        measured += f"[{result['low']:.3f}, {result['high']:.3f}], {result['unit']}, {result['slates']:,} slates of {result['hours']} hours"
        measured += "; " + ", ".join(_arm(arm, found) for arm, found in result["arms"].items() if arm not in ("loop", "frozen_all"))
        goal = f"above {result['goal']:.0f}"
    elif "gain" in result:
        measured = f"{result['ours']:.4f} against {result['peer']:.4f}: {result['gain']:+.4f} "
        measured += f"[{result['low']:+.4f}, {result['high']:+.4f}] {result['unit']}, "
        if "users" in result:
            measured += f"{result['users']:,} users, {result['rows']:,} rows"
        else:
            measured += f"{result['sets']:,} sets; nDCG@10 {result['ndcg_10']:.4f} against {result['peer_ndcg_10']:.4f}"
        measured += f"; the peer's default setting {result['peer_default']:.4f}" if "peer_default" in result else ""
        measured += f"; {result['seeds']} seeds" if result.get("seeds", 1) > 1 else ""
        goal = f"above {result['goal']:+.3f}"
    elif "parts" in result:
        measured = f"{result['ours']:.2f} {result['unit']} [{result['low']:.2f}, {result['high']:.2f}], {result['pairs']} pairs; "
        measured += ", ".join(f"{name} {part['old_s']:.2f} s against {part['young_s']:.2f} s" for name, part in result["parts"].items())
        goal = f"at most {result['limit']:.1f} {result['unit']}"
    else:
        measured = f"{result['ours']:.0f} {result['unit']} [{result['low']:.0f}, {result['high']:.0f}], {result['hours']} hours, "
        measured += f"{result['cores']} cores; scores after {result['scores_s']:.0f} s"
        goal = f"at most {result['limit']:.0f} {result['unit']}"
    return f"| {result['claim']} | {measured} | {goal} | {'yes' if result['met'] else 'no'} |"


def _arm(name: str, found: dict) -> str:
    """An arm's reward; of those that a system may be, what the loop is worth more."""
    reward = f"{name.replace('_', ' ')} {found['reward']:.2f}"
    if name not in ("frozen_weights", "popularity") or "loop_minus_arm" not in found:
        return reward
    return f"{reward} (loop {found['loop_minus_arm']:+.3f} [{found['low']:.3f}, {found['high']:.3f}])"


if __name__ == "__main__":
    print(render(), end="")
