"""What earlier runs left in the outbox: delivered to MLflow where a run has the time, ended where it is complete."""

from collections.abc import Collection

from pipeline.settings import Settings
from pipeline.tracking.background import delivered_within
from pipeline.tracking.outbox import left_journals
from pipeline.tracking.runs import Record
from pipeline.tracking.store import Destination, without_password
from pipeline.wording import count_of

TABLES_SECONDS = 120.0
"""How long a command that has shown its result may still create the first tables of its database."""
WAITING_SECONDS = 15.0
"""How long a run that records nothing itself waits for the delivery of earlier records."""


def destination_of(settings: Settings) -> Destination:
    """Return where the records of these settings go."""
    return Destination(
        settings.mlflow_uri,
        settings.mlflow_artifacts,
        settings.mlflow_experiment,
        settings.mlflow_pages,
        own=settings.tracking_uri is None,
    )


def deliver_after(settings: Settings) -> str:
    """Deliver what waits for this home's own database, once the result is out, and return a sentence about it.

    The first tables of a new one take some seconds, on a slow disk a minute: no result waits for that. Nothing is done
    for a store that a person named, which had its time.
    """
    destination = destination_of(settings)
    if not destination.own:
        return ""
    number = delivered_within(destination, settings.outbox, TABLES_SECONDS)
    return f"{count_of(number, 'run')} delivered to MLflow." if number else ""


def deliver_waiting(settings: Settings) -> None:
    """Deliver what earlier runs left, where a run has nothing to record itself; what cannot be delivered stays."""
    if settings.outbox.is_dir() and any(settings.outbox.iterdir()):
        delivered_within(destination_of(settings), settings.outbox, WAITING_SECONDS)


def finish_cut_off(settings: Settings, complete: Collection[str]) -> None:
    """End the records of killed processes whose results are complete, by MLflow's id of the run or the record's own.

    A model version names the backtest behind it: where it was published, nothing of that run is missing but its end.
    """
    destination = destination_of(settings)
    for journal in left_journals(settings.outbox, without_password(destination.uri), destination.experiment):
        if not journal.ended and {journal.header.id, journal.delivered.runs.get("")} & {*complete}:
            for name in journal.open_runs:
                Record(journal, tuple(name.split("\n")) if name else ()).end("FINISHED")
        journal.release()
