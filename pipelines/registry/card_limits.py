"""What a version's card says of its limits and of making it again: sentences from facts of its run, tags and gates, none for all models."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipelines.registry.model_card import Card

_ADAPTED, _RETRAINED = "adapt_encoder", "retrain_ranker"


def limits(card: "Card") -> list[str]:
    """One sentence a limit; only what is known of this version."""
    told = {"ranker": _of_ranker, "policy": _of_policy}.get(card.kind, lambda _: [])(card)
    unproven = [f"{gate.gate} (n={gate.n:,})" for gate in card.gates if gate.outcome == "abstain"]
    told += [f"Evidence was missing for: {', '.join(unproven)}."] if unproven else []
    if card.kind == "ranker" and card.gates and not any(gate.gate.startswith("forgetting") for gate in card.gates):
        told.append("Not compared with a full retrain: what hourly learning has forgotten is not known.")
    return told


def commands(card: "Card") -> list[str]:
    """Lines of a shell that make the version again from the root's landing files and settings."""
    tags = card.tags
    commit, lock = tags.get("mlflow.source.git.commit"), tags.get("lock_hash")
    found = [f"git checkout {commit}"] if commit else []
    found += [f"sha256sum requirements.lock   # begins with {lock}"] if lock else []
    hour, seed = tags.get("hour", "HOUR"), tags.get("seed", "SEED")
    found += ["make setup", "# a new folder that holds the root's recloop.yaml and landing/"]
    found.append(f"export RECLOOP_HOME=NEW RECLOOP__SEED={seed}")
    found.append(f".venv/bin/recloop backfill --from {tags.get('first_hour', 'FIRST_HOUR')} --to {hour}")
    if tags.get("step") == _RETRAINED:
        found.append(f".venv/bin/recloop retrain {hour}")
    if tags.get("step") == _ADAPTED:
        found.append(f".venv/bin/recloop adapt-encoder {hour} --method {card.params.get('method', 'lora')}")
    return found


def _of_ranker(card: "Card") -> list[str]:
    params, tags = card.params, card.tags
    windows = [word.rsplit(" ", 1) for word in params.get("label_windows_h", "").split(", ") if word]
    found = []
    if windows:
        found.append(f"Predicts {', '.join(task for task, _ in windows)}, and no other reaction.")
    if "judged_rows" in params:
        found.append(_judged(params, windows))
    elif "tasks" in params:
        found.append("Judged by nothing yet: no impression of the gate fold after the first load was there.")
    if params.get("thin_slices", "none") != "none":
        found.append(f"Too few rows to tell how it does for: {params['thin_slices']}.")
    if params.get("held_hours", "none") != "none":
        found.append(f"Neither learned from nor judged by held hours: {params['held_hours']}.")
    if "sampled" in params.get("negatives", ""):
        found.append(f"Of its {params.get('examples', '?')} newest examples {params['negatives']}: their base rate is the sampler's.")
    if (share := card.metrics.get("update_share.ranker", 1.0)) < 1:
        found.append(f"Serves {share:.0%} of the way from production to what was learned: the log cannot judge more.")
    if tags.get("step") == "finetune_ranker":
        found.append("Judged by logged impressions and slates alone; no user was shown it on trial.")
    if "encoder_version" in tags:
        found.append(f"Reads text vectors of encoder {tags['encoder_version']} only.")
    return found


def _judged(params: Mapping[str, str], windows: Sequence[Sequence[str]]) -> str:
    first, late = windows[0] if windows else ["the first task", "?"], windows[1:]
    words = f"Judged on {int(params['judged_rows']):,} impressions of {int(params['judged_users']):,} users of the gate fold, hours "
    words += f"{params['judged_hours']}, by {first[0]} alone (counted for {first[1]} h, so the newest hours' labels may still grow)."
    if not late:
        return words
    named = ", ".join(f"{task} ({hours} h)" for task, hours in late)
    return f"{words} By {named} only what is shown to be worse fails, on rows old enough for nine tenths of the reactions."


def _of_policy(card: "Card") -> list[str]:
    params, metrics = card.params, card.metrics
    found = []
    if "judged_slates" in params:
        found.append(
            f"Judged on {int(params['judged_slates']):,} logged slates of the gate fold, worth {int(params['effective_slates']):,} "
            "of its own; what those slates could not have shown has no value here."
        )
    elif "learner" in params:
        found.append("Judged by nothing yet: no slate was logged for it.")
    if "temperature" in metrics:
        found.append(f"Temperature {metrics['temperature']:.3g}: with another one, or on another ranker, it is another policy.")
    return found
