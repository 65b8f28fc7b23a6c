"""The scored table of the hour: slates drawn by the releases of its arms, logged before they are published."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipelines.clock import check_hour, now
from pipelines.errors import UserError
from pipelines.hours import end_of
from pipelines.lake import ledger
from pipelines.lake.session import spark_session
from pipelines.lake.tables import read_frame
from pipelines.lake.writes import append_new
from pipelines.registry.release_files import MODELS, check_models, wrong_model
from pipelines.registry.releases import ReleaseRow, all_releases, challenger_before, displaced_by, release_folder, release_in_force
from pipelines.registry.staging import GUARD, load_rules
from pipelines.settings import Settings
from pipelines.steps.business_rules import rules_in_force, rules_of
from pipelines.steps.catalogue import input_version
from pipelines.steps.draws import Draws, scoring_arms, with_decision
from pipelines.steps.hard_stop import Broken, broken_by_draws, broken_by_error, stop
from pipelines.steps.publishing import check_scores, items_of_hour, items_of_now, publish
from pipelines.steps.step import Attempt, Outcome, attempt, settled, writer_lock
from spark_jobs.arms import ARMS, PRODUCTION_ARM

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

STEP = "score_users"
REPUBLISH = "republish_scores"


def run(settings: Settings, hour: str) -> Outcome:
    """Draws and publishes the slates of ``hour``; an hour older than the published one is superseded."""
    check_hour(settings, hour)
    with writer_lock(settings, "spark"), attempt(settings, STEP, [hour]) as current:
        if (outcome := settled(current)) is not None:
            return outcome
        draws = _frozen_input(current)
        with spark_session(settings) as spark:
            return _score(spark, current, draws)


def republish(spark: "SparkSession", current: Attempt) -> Outcome:
    """Publishes the decisions of the newest scored hour again, for a ``scores`` that begins anew: nothing is drawn.

    What is hidden by now is left out. Raises UserError where the hour has no decisions.
    """
    from pyspark.sql import functions as F

    settings, hour = current.settings, current.hours[0]
    decided = read_frame(spark, settings, "slate_decisions").where(F.col("hour") == hour)
    advice = f"`recloop hour {hour}` draws the hour's slates"
    known = [row.release_id for row in all_releases(settings)]
    return _published_again(spark, current, decided, known, f"slate_decisions holds no draw of {hour}; {advice}")


def republish_releases(spark: "SparkSession", current: Attempt, releases: Sequence[str]) -> Outcome:
    """Publishes every user's newest slate that one of these releases drew: what was shown before whatever came after them.

    What is hidden by now is left out. Who got no slate of theirs is left to the default slate. Raises UserError where they drew none.
    """
    from pyspark.sql import functions as F

    decided = read_frame(spark, current.settings, "slate_decisions").where(F.col("release_id").isin(list(releases)))
    nothing = f"slate_decisions holds no draw of {releases[-1]}; the next hour draws with it"
    return _published_again(spark, current, decided, releases, nothing)


def _published_again(spark: "SparkSession", current: Attempt, decided: "DataFrame", releases: Sequence[str], nothing: str) -> Outcome:
    """Of a user with several draws, the newest; of one hour's, that of the newest features. ``nothing``: said where there is none."""
    from pyspark.sql import Window
    from pyspark.sql import functions as F

    from spark_jobs.score_checks import only_showable
    from spark_jobs.scoring import scored_rows

    settings, hours = current.settings, current.hours
    order = (F.col("hour").desc(), F.array_max("feature_versions.version").desc(), "slate_id")
    newest = F.row_number().over(Window.partitionBy("user_id", "surface").orderBy(*order))
    last = decided.withColumn("generation", newest).where("generation = 1").drop("generation")
    if decided.isEmpty():
        raise UserError(nothing)
    items = items_of_now(spark, current)
    rows = only_showable(scored_rows(last, now(settings, hours[0]).isoformat()), items, settings.slates.size).persist()
    count = check_scores(rows, items, current, dict.fromkeys(ARMS, releases), gaps=True)
    publish(rows, current)
    rows.unpersist()
    return current.record("done", f"{count} rows of {hours[0]} published again", rows_out=count)


def _frozen_input(current: Attempt) -> Draws:
    """The releases and the business rules that the first attempt chose; a rerun of the hour draws with the same."""
    settings, hour = current.settings, current.hours[0]
    row = ledger.frozen(settings, STEP, hour)
    release = release_in_force(settings, hour, row.release_id if row else None)
    if row is None:
        challenger = challenger_before(settings, hour)
        rules, kept = rules_in_force(settings)
        beside = f", {challenger.release_id} in staging" if challenger else ""
        named = {"release_id": release.release_id, "challenger_id": challenger.release_id if challenger else None, "files": kept}
        current.record("frozen", f"release {release.release_id}{beside}, rules {rules.version}", **named)
    else:
        challenger = release_in_force(settings, hour, row.challenger_id) if row.challenger_id else None
        rules = rules_of(settings, row)
    displaced = displaced_by(settings, release, hour, load_rules()[GUARD].futile_h)
    check_models(release_folder(settings, release.release_id), release.release_id)
    return Draws(release, challenger, displaced[1] if displaced else None, rules)


def _score(spark: "SparkSession", current: Attempt, draws: Draws) -> Outcome:
    from spark_jobs.scoring import scored_rows, slate_rows

    settings, hours, versions = current.settings, current.hours, _input_versions(current)
    users = read_frame(spark, settings, "user_features", versions["user_features"])
    with current.stage("draw"):
        draws, drawn, broken = _drawn(users, current, draws)
        rows = scored_rows(drawn, now(settings, hours[0]).isoformat()).persist()
        items = items_of_hour(spark, current, draws.business, end_of(hours[0]))
        count = check_scores(rows, items, current, {name: [row.release_id] for name, _, row in draws.arms})
        current.outputs["slate_decisions"] = append_new(drawn, settings, "slate_decisions", hours, STEP)
    with current.stage("log"):
        current.outputs["slate_log"] = append_new(slate_rows(drawn), settings, "slate_log", hours, STEP)
    with current.stage("publish"):
        publish(rows, current)
        rows.unpersist()
        drawn.unpersist()
    stop(settings, broken)
    by = ", ".join(f"{row.release_id}{'' if share == 1 else f' for {share:.1%} of the users ({name})'}" for name, share, row in draws.arms)
    told = "".join(f"; {row.release_id} ({one.arm}) was stopped: {one.why}" for one, row in broken)
    return current.record("done", f"{count} rows by {by}{told}", rows_out=count, release_id=draws.production.release_id)


def _drawn(users: "DataFrame", current: Attempt, draws: Draws) -> "tuple[Draws, DataFrame, list[tuple[Broken, ReleaseRow]]]":
    """The hour's decisions by all that can draw, what drew them, and what could not.

    Raises UserError where neither production nor what was there before it can: then the scores stay as they are.
    """
    broken: list[tuple[Broken, ReleaseRow]] = []
    while isinstance(found := _tried(users, current, draws), Broken):
        broken.append((found, draws.release(found.arm)))
        if sum(one.arm == PRODUCTION_ARM for one, _ in broken) > 1:
            raise UserError(f"no release can draw: {'; '.join(one.why for one, _ in broken)}; mend what they read, and run the hour again")
        try:
            draws = draws.without(current.settings, found.arm)
        except UserError as nothing:
            raise UserError(f"{found.why}; {nothing}") from None
    return draws, found, broken


def _tried(users: "DataFrame", current: Attempt, draws: Draws) -> "DataFrame | Broken":
    """The decisions, drawn and kept; or the arm that cannot draw."""
    from spark_jobs.scoring import decisions

    settings, hour = current.settings, current.hours[0]
    for name, _, row in draws.arms[1:]:
        for kind in MODELS:
            if wrong := wrong_model(release_folder(settings, row.release_id) / kind):
                return Broken(name, f"{row.release_id}, {kind}: {wrong}")
    arms = scoring_arms(settings, hour, draws, current.inputs)
    drawn = with_decision(decisions(users.repartition(2, "user_id"), arms, draws.salt), current, draws).persist()
    try:
        broken = broken_by_draws(drawn)
    except Exception as error:
        drawn.unpersist()
        if (found := broken_by_error(error)) is None:
            raise
        return found
    if broken is not None:
        drawn.unpersist()
    return broken or drawn


def _input_versions(current: Attempt) -> dict[str, int]:
    """Versions of the features that the hour's ledger rows name."""
    return {name: input_version(current, name) for name in ("items", "item_embeddings", "item_features", "user_features")}
