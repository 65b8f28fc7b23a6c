"""The study of a search, kept in a journal of the root: whoever comes next goes on with it."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pipelines.errors import UserError
from pipelines.settings import Settings
from pipelines.steps.tune_space import present

if TYPE_CHECKING:
    from optuna import Study
    from optuna.storages import JournalStorage

_RECIPE = "recipe"


def open_study(settings: Settings, encoder_version: str, known: Sequence[str], count: int, anew: bool) -> "tuple[Study, str]":
    """The newest study of so many hours, or a new one that ends with the newest hour; and its last hour.

    Trials of a call that was killed count as failed; the present settings are tried first where no trial had them. Raises UserError
    where what is not searched was set otherwise when the study began: its figures would not compare.
    """
    import optuna
    from optuna.trial import TrialState

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = _storage(settings)
    until = _last_hour(storage, known, count, anew)
    study = optuna.create_study(
        storage=storage, study_name=f"{until} {count}h", direction="maximize", load_if_exists=True,
        pruner=optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=max(1, count // 8)),
    )  # fmt: skip
    _check_recipe(study, _recipe(settings, encoder_version, [hour for hour in known if hour <= until]))
    for left in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        study.tell(left.number, state=TrialState.FAIL)
    tried = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED, TrialState.WAITING))
    # the same seed again would draw the same values again
    study.sampler = optuna.samplers.TPESampler(seed=settings.seed + len(study.get_trials(deepcopy=False)))
    now = dict(present(settings))
    if all(now.values()) and not any(now in (trial.params, trial.system_attrs.get("fixed_params")) for trial in tried):
        study.enqueue_trial(now)
    return study, until


def _storage(settings: Settings) -> "JournalStorage":
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    path = settings.home / "tune" / "journal.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    return JournalStorage(JournalFileBackend(str(path)))


def _last_hour(storage: "JournalStorage", known: Sequence[str], count: int, anew: bool) -> str:
    import optuna

    begun = [name.split()[0] for name in optuna.get_all_study_names(storage) if name.endswith(f" {count}h")]
    return max(begun) if begun and not anew else known[-1]


def _recipe(settings: Settings, encoder_version: str, known: Sequence[str]) -> dict[str, Any]:
    fixed = settings.ranker.model_dump(exclude=set(present(settings)))
    return fixed | {"seed": settings.seed, "tasks": settings.reward.tasks, "encoder": encoder_version, "hours": len(known)}


def _check_recipe(study: "Study", recipe: dict[str, Any]) -> None:
    now, begun = json.loads(json.dumps(recipe)), study.user_attrs.get(_RECIPE)
    if begun is None:
        study.set_user_attr(_RECIPE, now)
    elif other := sorted(name for name in now if now[name] != begun.get(name)):
        found = ", ".join(f"{name} {begun.get(name)!r}, now {now[name]!r}" for name in other)
        raise UserError(f"the study of {study.study_name} began with {found}; its figures would not compare: use --anew")
