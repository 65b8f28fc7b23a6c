"""A user's history: one entry an item, the last MET items. Where items are dropped, the order of adding matters, so it is fixed here."""

from collections.abc import Iterable, Mapping
from itertools import groupby
from operator import itemgetter
from typing import Any

from spark_jobs.contracts import MET

Entry = Mapping[str, Any]  # ts, event_id, item_id, weight, times; ts of any one ordered type
_BY_TIME = itemgetter("ts", "event_id")
_BY_KNOWN = itemgetter("known_from")


class History:
    """Entries by item, oldest first by (ts, event_id)."""

    def __init__(self) -> None:
        self._items: dict[str, Entry] = {}

    def add(self, entries: Iterable[Entry]) -> None:
        """Adds what became known together, then drops all but the last MET items.

        An item keeps its newest time, its strongest reaction and the sum of its times; one that was dropped and is met again counts anew.
        """
        items, newest, sorted_still = self._items, self._newest(), True
        for entry in entries:
            known = items.pop(entry["item_id"], None)
            if known is not None:
                both = {"weight": max(known["weight"], entry["weight"]), "times": known["times"] + entry["times"]}
                entry = {**max(known, entry, key=_BY_TIME), **both}
            items[entry["item_id"]] = entry
            time = _BY_TIME(entry)
            sorted_still = sorted_still and (newest is None or time >= newest)
            newest = time
        if not sorted_still:
            self._items = items = {entry["item_id"]: entry for entry in sorted(items.values(), key=_BY_TIME)}
        for item in list(items)[:-MET]:
            del items[item]

    def entries(self) -> list[Entry]:
        return list(self._items.values())

    def _newest(self) -> tuple[Any, str] | None:
        return _BY_TIME(self._items[next(reversed(self._items))]) if self._items else None


def in_order(entries: Iterable[Entry]) -> list[Entry]:
    """The history of entries that have ``known_from``, added as they became known."""
    history = History()
    for _, together in groupby(sorted(entries, key=_BY_KNOWN), key=_BY_KNOWN):
        history.add(together)
    return history.entries()
