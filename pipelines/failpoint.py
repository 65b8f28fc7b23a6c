"""Boundaries at which a test of faults kills the process: what is half done there is what the next attempt must mend."""

import os
import signal

from pipelines.settings import Settings


def failpoint(settings: Settings, where: str) -> None:
    """Ends this process as ``kill -9`` does where the setting ``failpoint`` names this boundary; else does nothing.

    ``<step>:start``, ``<step>:before_<status>`` and ``<step>:after_<status>`` of its ledger row, ``<step>:commit:<table>``,
    ``register:<kind>``, ``alias:<kind>``, ``promote_models:artifacts``, ``promote_models:row``,
    ``pull:rename`` of an object or a topic's range.
    """
    if settings.failpoint == where:
        os.kill(os.getpid(), signal.SIGKILL)
