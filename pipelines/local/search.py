"""Search: the items that fit a text, retrieved by the encoder and put in order by the ranker in force, for a user or for nobody.

Nothing is drawn or logged: an application that shows the results sends impressions with ``query``, and the ranker learns from them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import torch

from models.rewards import expected_reward
from pipelines.errors import UserError
from pipelines.evaluation.searches import known_queries
from pipelines.hours import end_of, shift
from pipelines.lake import ledger
from pipelines.lake.tables import read_table
from pipelines.local.loop_state import read_view
from pipelines.registry.releases import release_folder, release_in_force
from pipelines.settings import Settings
from pipelines.steps.build_features import STEP
from pipelines.steps.encoders import encoder_spec
from spark_jobs.catalogue import Catalogue, build_catalogue, current_rows
from spark_jobs.contracts import DEFAULT_USER
from spark_jobs.embeddings import search_text
from spark_jobs.ranker_inputs import CROSS, RELEVANCE, cross_features
from spark_jobs.release import Release, load_release

RETRIEVED = 200


@dataclass(frozen=True)
class SearchResult:
    """One item: how well its text fits (cosine), and the reward that the ranker expects of showing it for this query."""

    item_id: str
    title: str
    match: float
    expected_reward: float


@dataclass(frozen=True)
class SearchResults:
    """The best first, as known at the end of ``hour``; ``user_id`` None: for nobody in particular."""

    query: str
    user_id: str | None
    hour: str
    release_id: str
    results: Sequence[SearchResult]


def search(settings: Settings, query: str, user_id: str | None = None, k: int = 10) -> SearchResults:
    """The ``k`` best of the RETRIEVED nearest available items, as known at the newest finished hour.

    Raises UserError for an empty query, a user of whom nothing is known, and a root without features or release.
    """
    text = search_text(query)
    if not text:
        raise UserError("the query is empty; give some words, such as `recloop search \"space adventure\"`")
    hour = ledger.newest_hour(settings, STEP)
    features = ledger.last_done(settings, STEP, hour) if hour is not None else None
    if hour is None or features is None:
        raise UserError(f"no hour has features under {settings.home} yet; run `recloop demo` or an hour first")
    row = release_in_force(settings, shift(hour, 1))
    rewards = tuple(term.weight for term in settings.reward.terms)
    release = load_release(release_folder(settings, row.release_id), row.release_id, rewards)
    items = current_rows(read_table(settings, "items"))
    catalogue = _catalogue(settings, release, items, text)
    users = [user_id or DEFAULT_USER]
    view = read_view(settings, users, catalogue, features.outputs, end_of(hour), release.ranker.config)
    if user_id is not None and not (view.users.history > 0).any() and not view.users.counters[:, 0].any():
        raise UserError(f"nothing is known of user {user_id!r} up to {hour}; leave --user out for results that fit nobody in particular")
    asked = torch.from_numpy(catalogue.query_rows(pa.array([text])))
    rows = _retrieved(catalogue, asked)
    cross = cross_features(view.users, catalogue, view.items, rows, asked)
    logits = release.ranker.score(view.users, rows, catalogue.table, view.items, cross, asked)
    reward = expected_reward(logits, rewards)[0]
    match = cross[0, :, CROSS.index(RELEVANCE)]
    ids, titles = catalogue.ids.to_pylist(), _titles(items)
    best = [(int(rows[0, place]) - 1, place) for place in reward.argsort(descending=True)[:k].tolist()]
    found = [SearchResult(ids[item], titles[ids[item]], float(match[place]), float(reward[place])) for item, place in best]
    return SearchResults(text, user_id, hour, row.release_id, found)


def _catalogue(settings: Settings, release: Release, items: pa.Table, text: str) -> Catalogue:
    """With the query among its texts. Raises UserError where the release reads vectors of an encoder that the settings do not name."""
    wanted, spec = release.ranker.config.encoder_version, encoder_spec(settings)
    if spec.version != wanted:
        raise UserError(
            f"release {release.release_id} reads vectors of encoder {wanted}, the settings name {spec.version} ({spec.path}); "
            "set encoder.path in recloop.yaml to the release's encoder"
        )
    queries = known_queries(settings, wanted, pa.chunked_array([[text]]))
    return build_catalogue(items, read_table(settings, "item_embeddings"), wanted, queries)


def _retrieved(catalogue: Catalogue, asked: torch.Tensor) -> torch.Tensor:
    """(1, C) rows of the available items whose text is nearest."""
    count = len(catalogue.ids) + 1
    similarity = catalogue.table.vectors[:count] @ catalogue.table.vectors[asked[0]]  # (N+1,)
    similarity = similarity.masked_fill(~torch.from_numpy(catalogue.available), -torch.inf)
    most = min(RETRIEVED, int(catalogue.available.sum()))
    return similarity.topk(most).indices.unsqueeze(0)


def _titles(items: pa.Table) -> dict[str, str]:
    return dict(zip(items["item_id"].to_pylist(), items["title"].to_pylist(), strict=True))
