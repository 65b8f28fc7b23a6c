"""``recloop demo``: from an empty root to a loop that has learned for some hours through Airflow, and what that was worth.

Run again, it goes on from where it stands.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from rich.console import Console

from pipelines.errors import UserError
from pipelines.local.live_hours import next_hours, play_live_hour
from pipelines.local.logged_hours import LOGGED_HOURS, bootstrap, play_logged_hours
from pipelines.local.stages import Stages
from pipelines.settings import Settings, load_settings

SOFT_CHECKS = ("jars", "versions")


def run_demo(settings: Settings, console: Console, hours: int = 6, logged: int = LOGGED_HOURS) -> None:
    """Data, services, first release, logged hours, live hours through Airflow, summary; services stay up."""
    stages = Stages(console)
    check_machine(settings, stages)
    settings = prepare_data(settings, stages)
    start_engines(settings, stages)
    if bootstrap(settings, stages):
        stages.note(f"first recommendations after {stages.seconds:.0f} s")
    play_live_hours(settings, stages, hours, lambda: play_logged_hours(settings, stages, logged))
    print_end(settings, console)
    stages.note(f"the whole demo took {stages.seconds / 60:.1f} minutes")


def check_machine(settings: Settings, stages: Stages) -> None:
    """Raises UserError with what is missing and its remedy; what the demo mends itself or can do without is only noted."""
    from pipelines.local.doctor import checks

    failed = [check for check in checks(settings) if not check.ok]
    if missing := [f"{check.name}: {check.found}; {check.remedy}" for check in failed if check.name not in SOFT_CHECKS]:
        raise UserError(" | ".join(missing))
    for check in failed:
        stages.note(f"{check.name}: {check.found}; {check.remedy}")


def prepare_data(settings: Settings, stages: Stages) -> Settings:
    """What the root holds, else MovieLens, else (where only its download fails) a made-up catalogue; answers the new settings."""
    from pipelines.local.demo_data import held_demo_data, write_demo_data

    with stages.stage("demo data") as stage:
        held = held_demo_data(settings)
        written = held or write_demo_data(settings, "movielens")
        note = " (already there)" if held else f" ({written.note})" if written.note else ""
        stage.ends_with(f"{written.source}{note}: {written.users:,} users, {written.items:,} items, {written.ratings:,} ratings")
    return load_settings(settings.home)


def start_engines(settings: Settings, stages: Stages) -> None:
    """Spark and MLflow, side by side."""
    from pipelines.local.services import ensure_mlflow, ensure_spark

    with stages.stage("start Spark and MLflow") as stage, ThreadPoolExecutor(2) as pool:
        starts: list[Callable[[Settings], str]] = [ensure_spark, ensure_mlflow]
        stage.ends_with(", ".join(pool.map(lambda start: start(settings), starts)))


def play_live_hours(settings: Settings, stages: Stages, hours: int, meanwhile: Callable[[], None]) -> None:
    """Live hours, each valued by the truth once it is decided. Airflow starts while ``meanwhile`` runs."""
    from pipelines.local.services import ensure_airflow

    with ThreadPoolExecutor(1) as pool:
        starting = pool.submit(ensure_airflow, settings)
        meanwhile()
        with stages.stage("start Airflow") as stage:
            airflow = starting.result()
            stage.ends_with(airflow.url)
    todo = next_hours(settings, hours)
    for number, hour in enumerate(todo, start=1):
        play_live_hour(settings, airflow, hour, stages, f"live hour {number} of {len(todo)}, {hour}")
        value_hours(settings, stages)


def value_hours(settings: Settings, stages: Stages) -> None:
    """What the slates of the live hours are worth beside the other ways to recommend, by the truth of the simulated world."""
    from pipelines.local.evaluation import evaluate
    from pipelines.local.reward_figures import FROZEN_ALL, LOOP
    from pipelines.local.summary import read_summary

    with stages.stage("value its slates by the truth") as stage:
        evaluate(settings)
        figures = read_summary(settings).hours[-1].figures
        reward, more = figures.rewards[LOOP], figures.differences[FROZEN_ALL]
        stage.ends_with(f"{reward.value:.3f} a slate, {more.value:+.3f} to everything frozen")


def print_end(settings: Settings, console: Console) -> None:
    """The summary, one user's recommendations, and where to look: all read from tables."""
    from pipelines.local.recommend import recommend, some_users
    from pipelines.local.screen import print_recommendations, print_summary
    from pipelines.local.services import ensure_airflow, running
    from pipelines.local.summary import read_summary

    console.print()
    print_summary(console, read_summary(settings))
    user = some_users(settings, 1)[0]
    print_recommendations(console, user, recommend(settings, user, 10))
    access = ensure_airflow(settings)
    for service in running(settings):
        login = f"  user {access.user}, password {access.password}" if service.url == access.url else ""
        console.print(f"{service.name}: {service.url}{login}", soft_wrap=True, highlight=False, markup=False)
    console.print("The services stay up: `make down` stops them, `recloop demo` runs more hours, `recloop status` shows this again.")
