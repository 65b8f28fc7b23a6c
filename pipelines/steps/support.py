"""How much of what a release would show lies outside of what the log could have shown: no logged slate says anything of that."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from pipelines.settings import Settings
from pipelines.steps.draws import draw_rules
from pipelines.steps.logged_slates import Drawn, SlateReader
from spark_jobs.business_rules import BusinessRules
from spark_jobs.candidates import describe, retrieve
from spark_jobs.drawing import draw_slates, slate_logits
from spark_jobs.item_rules import ItemRules
from spark_jobs.release import Release


@dataclass(frozen=True)
class Support:
    """Logged slates, whose candidates are what could have been shown there."""

    settings: Settings
    reader: SlateReader

    @torch.no_grad()
    def outside(self, release: Release) -> NDArray[np.float64]:
        """(S,) share of the positions of each slate, drawn anew by this release from its own candidates, that hold none of the logged.

        From the features of the draw, and the noise of its hour. Business rules are left out: what they block nobody shows.
        """
        found = np.zeros(len(self.reader.shown))
        for group in self.reader.drawn_groups(release.ranker.config):
            found[group.where.numpy()] = self._of_group(release, group)
        return found

    def _of_group(self, release: Release, group: Drawn) -> NDArray[np.float64]:
        catalogue, items, users = self.reader.catalogue, group.items, group.users
        rules, free = draw_rules(self.settings, group.hour, BusinessRules()), _no_rules(len(catalogue.ids))
        names = self._users(group)
        rows, mask = retrieve(release, names, users, catalogue, items, rules, free)
        candidates = describe(release, users, catalogue, items, rows, mask)
        logits = slate_logits(release, users, candidates, items, torch.zeros(()))
        drawn = draw_slates(logits, names, candidates, catalogue, rules, free.limits(rows, rules.size))
        shown = rows.gather(1, drawn.action)
        known = (shown.unsqueeze(2) == self.reader.rows[group.where].unsqueeze(1)).any(2)
        there = drawn.propensity > 0
        return np.asarray(((~known & there).sum(1) / there.sum(1).clamp(min=1)).double().numpy())

    def _users(self, group: Drawn) -> list[str]:
        ids = self.reader.shown.decisions["user_id"].combine_chunks().take(pa.array(group.where.numpy()))
        return [str(user) for user in ids.to_pylist()]


def _no_rules(items: int) -> ItemRules:
    nothing = torch.zeros(items + 1)
    return ItemRules(nothing.bool(), nothing, torch.full((items + 1,), -1, dtype=torch.int64), (), 0)
