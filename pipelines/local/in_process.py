"""Steps run in this process, one stage a step; what breaks in one is a line for the user and a traceback in the log."""

import traceback
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from pipelines.clock import wall_clock
from pipelines.errors import UserError
from pipelines.local.stages import Stages
from pipelines.settings import Settings
from pipelines.steps.step import Outcome

Step = Callable[[Settings, str], Outcome]
T = TypeVar("T")


def run_steps(settings: Settings, hour: str, steps: Sequence[Step], stages: Stages) -> None:
    """Each step of the hour in order; the first that fails ends it with a UserError."""
    for step in steps:
        name = step.__module__.rsplit(".", 1)[-1]
        with stages.stage(f"{hour} {name}") as stage:
            outcome = explained(settings, f"{name} of hour {hour}", partial(step, settings, hour))
            stage.ends_with(f"{outcome.status}: {outcome.detail}" if outcome.detail else outcome.status)


def explained(settings: Settings, what: str, work: Callable[[], T]) -> T:
    """The work's answer. Raises UserError in place of any other error, whose traceback goes into ``logs/recloop.log``."""
    try:
        return work()
    except UserError:
        raise
    except Exception as error:
        path = settings.logs / "recloop.log"
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "a", encoding="utf-8") as log:
            log.write(f"{wall_clock().isoformat()} {what}\n{traceback.format_exc()}\n")
        first = (str(error).strip().splitlines() or [""])[0][:200]
        raise UserError(f"{what} failed: {type(error).__name__}: {first}; see {path}, mend the cause and run it again") from error
