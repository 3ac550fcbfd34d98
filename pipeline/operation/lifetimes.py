"""Lifetimes: how many days what a home holds is kept, and what of it goes: pure decisions on values."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, Field

from pipeline.operation.ledger.entries import Entry

DIGEST_LETTERS = 12
"""How many letters of its digest the name of a state has."""
DATE_LETTERS = len("2024-01-02")

Days = Annotated[int, Field(ge=2)]
"""At least two days: no run takes as long, so that nothing of a run under way is old enough to go."""


class Lifetimes(BaseModel, frozen=True, extra="forbid"):
    """How many days each kind is kept: since it was made, of fits since their last use.

    What the ledger's entries of the last `ledger_days` need to be replayed stays, however old it is.
    """

    ledger_days: Days = Field(365, description="Entries of the ledger of so many days can be replayed and traced")
    reports_days: Days = Field(365, description="Reports, a folder per run")
    day_files_days: Days = Field(3650, description="JSON files of the days; the newest of each calendar stays")
    mlflow_runs_days: Days = Field(180, description="MLflow runs with their artifacts")
    fits_days: Days = Field(90, description="Cached fits, since they were last used")
    versions_days: Days = Field(90, description="Versions of models; the last ten and those with an alias stay")
    states_days: Days = Field(90, description="States of combination and calibration; the last of a calendar stays")
    leftovers_days: Days = Field(2, description="What killed processes have left: drafts, records without a header")
    flow_runs_days: Days = Field(90, description="Prefect's finished flow runs, with their logs and artifacts")


@dataclass(frozen=True)
class Needed:
    """What a model's ledger entries need: numbers of versions, the beginnings of digests of states, and backtests.

    A backtest's run is named by MLflow's id or by the id of its record.
    """

    versions: frozenset[int] = frozenset()
    states: frozenset[str] = frozenset()
    runs: frozenset[str] = frozenset()


def cutoff(now: datetime, days: int) -> datetime:
    """Return the instant before which what is kept for some days goes."""
    return now - timedelta(days=days)


def needed_by(entries: Iterable[Entry], since: datetime) -> Needed:
    """Return what the entries issued since an instant need, and the last one of each calendar whenever it was issued.

    A replay begins with the state before the entry: the state of the entry before it is needed too.
    """
    by_calendar: dict[str, list[Entry]] = {}
    for entry in sorted(entries, key=lambda it: it.sequence):
        by_calendar.setdefault(entry.provenance.calendar, []).append(entry)
    kept = [entry for issued in by_calendar.values() for entry in _with_the_one_before(issued, since)]
    known = [entry.provenance for entry in kept]
    return Needed(
        frozenset(it.version for it in known),
        frozenset(it.calibration_digest[:DIGEST_LETTERS] for it in known if it.calibration_digest),
        frozenset(it.backtest.mlflow_run_id for it in known if it.backtest),
    )


def _with_the_one_before(issued: Sequence[Entry], since: datetime) -> Sequence[Entry]:
    """Return the entries of one calendar, in the chain's order, from the last one before an instant on."""
    first = next((k for k, entry in enumerate(issued) if entry.issued_at >= since), len(issued))
    return issued[max(0, first - 1) :]


def expired_states(paths: Iterable[Path], before: datetime, needed: Collection[str]) -> list[Path]:
    """Return the states (SESSION-DIGEST.safetensors) of sessions before a day that no entry needs."""
    return [
        path
        for path in paths
        if (session := _day_of(path)) and session < before.date() and path.stem[DATE_LETTERS + 1 :] not in needed
    ]


def expired_day_files(paths: Iterable[Path], before: datetime) -> list[Path]:
    """Return the files (DAY-CALENDAR.json) of days before one, but the newest of each calendar.

    The newest has the digest of the ledger's last entry, which covers all entries before it.
    """
    by_calendar: dict[str, list[Path]] = {}
    for path in sorted(path for path in paths if _day_of(path)):
        by_calendar.setdefault(path.name[DATE_LETTERS:], []).append(path)
    earlier = [path for files in by_calendar.values() for path in files[:-1]]
    return [path for path in earlier if (day := _day_of(path)) and day < before.date()]


def _day_of(path: Path) -> date | None:
    """Return the day that a file's name begins with, None where it begins with something else."""
    try:
        return date.fromisoformat(path.name[:DATE_LETTERS])
    except ValueError:
        return None


@dataclass(frozen=True)
class StoredRun:
    """An MLflow run as far as its removal depends on it: the run that it lies below, and the id of its record."""

    id: str
    started_at: datetime
    running: bool = False
    parent: str | None = None
    record: str | None = None


def expired_runs(runs: Sequence[StoredRun], before: datetime, needed: Collection[str]) -> list[StoredRun]:
    """Return the runs that go, a parent with all runs below it: started before an instant, ended, none of them needed.

    `needed` has ids of runs and of records.
    """
    parents = {run.id: run.parent for run in runs}
    families: dict[str, list[StoredRun]] = {}
    for run in runs:
        families.setdefault(_root(run.id, parents), []).append(run)
    return [run for family in families.values() if _all_expired(family, before, needed) for run in family]


def _root(run_id: str, parents: dict[str, str | None]) -> str:
    seen = {run_id}
    while (parent := parents.get(run_id)) and parent not in seen:
        run_id = parent
        seen.add(run_id)
    return run_id


def _all_expired(family: Sequence[StoredRun], before: datetime, needed: Collection[str]) -> bool:
    old = all(run.started_at < before and not run.running for run in family)
    return old and not any({run.id, run.record, run.parent} & {*needed} for run in family)
