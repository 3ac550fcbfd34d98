"""Prune: remove what has outlived its lifetime, keep what the ledger's last entries need, and say what was freed."""

from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pipeline.errors import FitError, LedgerError, TrackingError, UsageError
from pipeline.files import disk_bytes, drafts_in, is_abandoned, remove_whole
from pipeline.operation.aliases import one_daily_run, read_aliases
from pipeline.operation.ledger.entries import Entry
from pipeline.operation.ledger.reading import listed
from pipeline.operation.lifetimes import (
    Lifetimes,
    Needed,
    cutoff,
    expired_day_files,
    expired_states,
    needed_by,
)
from pipeline.operation.model_versions import KEPT_VERSIONS, prunable, versions
from pipeline.operation.model_versions import prune as prune_versions
from pipeline.operation.states import STATES
from pipeline.operation.version_files import VersionDescription, folder_of, numbers_in
from pipeline.settings import Settings
from pipeline.sqlite import is_sqlite, sqlite_path
from pipeline.tracking.outbox import records_without_header
from pipeline.workflow.earlier_records import destination_of
from pipeline.workflow.ledger import existing_ledger, last_heads, refuse_lost_entries
from pipeline.workflow.prune_result import (
    DAY_FILES,
    FITS,
    LEFTOVERS,
    MLFLOW_RUNS,
    REPORTS,
    STATES_KIND,
    VERSIONS,
    PruneResult,
    Removed,
    by_kind,
)
from pipeline.workflow.run_context import RunContext

LOCK_SECONDS = 10.0
"""How long to wait for the daily run of a model; one that takes longer is left alone until the next time."""
ALL_ENTRIES = 10_000_000

PruneFlowRuns = Callable[[datetime, bool], Removed]
"""Removes the scheduler's finished runs that ended before an instant; with True they are only counted."""


@dataclass(frozen=True)
class PrunedModel:
    """What went of one model, and what of other kinds its versions and its ledger entries need.

    `backtests` are runs, `numbers` its versions, and `fits` the keys of those of champion and previous.
    """

    name: str
    removed: tuple[Removed, ...]
    backtests: frozenset[str] = frozenset()
    numbers: tuple[int, ...] = ()
    fits: frozenset[str] = frozenset()

    @property
    def is_known(self) -> bool:
        """Whether what it needs could be read."""
        return not any(it.problem for it in self.removed)


def prune(
    context: RunContext, lifetimes: Lifetimes, dry_run: bool = False, flow_runs: PruneFlowRuns | None = None
) -> PruneResult:
    """Remove what has outlived its lifetime, each thing as a whole; return what went, and with `dry_run` what would go.

    What the ledger's entries of the last days need stays, and so does a record that MLflow does not have yet, whatever
    its age. Nothing of a running process is removed. Where something cannot be read or removed, the rest is done, and
    the result is partial; a killed process leaves every thing whole or gone, and a later call goes on.
    """
    settings, now = context.settings, context.now
    with context.timer.stage("leftovers"):
        leftovers = _removed(LEFTOVERS, _leftovers(settings, cutoff(now, lifetimes.leftovers_days)), dry_run)
    with context.timer.stage("models"):
        models = [_pruned_model(settings, name, lifetimes, now, dry_run) for name in _model_names(settings)]
    with context.timer.stage("files"):
        files = _pruned_files(settings, models, lifetimes, now, dry_run)
    with context.timer.stage("mlflow"):
        runs = _pruned_runs(settings, models, cutoff(now, lifetimes.mlflow_runs_days), dry_run)
    others: list[Removed] = []
    if flow_runs is not None:
        with context.timer.stage("prefect"):
            others = [flow_runs(cutoff(now, lifetimes.flow_runs_days), dry_run)]
    found = [*(it for model in models for it in model.removed), *files, leftovers, runs, *others]
    return PruneResult(dry_run, by_kind(found), dict(context.timer.seconds))


def _removed(kind: str, paths: Iterable[Path], dry_run: bool) -> Removed:
    """Return what went of some files or folders; the first that cannot be removed ends it."""
    count = freed_bytes = 0
    for path in paths:
        try:
            freed_bytes += disk_bytes(path) if dry_run else remove_whole(path)
            count += 1
        except FileNotFoundError:  # another process removed it meanwhile
            continue
        except OSError as error:
            return Removed(kind, count, freed_bytes, problem=f"{error}; expected a folder that you may write in")
    return Removed(kind, count, freed_bytes)


# --- Models: versions, states, files of the days ---


def _model_names(settings: Settings) -> list[str]:
    folders = [folder for folder in (settings.models, settings.days) if folder.is_dir()]
    return sorted({path.name for folder in folders for path in folder.iterdir() if _is_model(path)})


def _is_model(path: Path) -> bool:
    return path.is_dir() and not path.name.startswith(".")


def _pruned_model(settings: Settings, name: str, lifetimes: Lifetimes, now: datetime, dry_run: bool) -> PrunedModel:
    """Return what went of a model: nothing where its ledger cannot be read, or a daily run of it goes on."""
    alone: AbstractContextManager[None] = nullcontext()
    if not dry_run:
        alone = one_daily_run(settings.models / name, LOCK_SECONDS)
    try:
        with alone:
            needed = needed_by(_entries(settings, name), cutoff(now, lifetimes.ledger_days))
            removed = (
                _pruned_versions(settings, name, needed.versions, cutoff(now, lifetimes.versions_days), dry_run),
                _pruned_states(settings, name, needed, cutoff(now, lifetimes.states_days), dry_run),
                _pruned_days(
                    settings, name, cutoff(now, max(lifetimes.day_files_days, lifetimes.ledger_days)), dry_run
                ),
            )
            return _with_needs(settings, name, removed, needed)
    except (LedgerError, FitError, UsageError) as error:
        return PrunedModel(name, (Removed(VERSIONS, problem=f"nothing of model {name} was removed: {error}"),))


def _entries(settings: Settings, name: str) -> Sequence[Entry]:
    """Return the ledger's entries of a model name; raises LedgerError where it lacks one that is noted in this home."""
    url, heads = settings.ledger_url, last_heads(settings, name)
    if is_sqlite(url) and not heads and not sqlite_path(url).is_file():
        return ()  # nothing was issued, and asking would make the file
    try:
        ledger = existing_ledger(settings, name)
    except UsageError:  # nothing was issued under this name
        return ()
    refuse_lost_entries(ledger, name, heads)
    return listed(ledger, name, ALL_ENTRIES)


def _pruned_versions(
    settings: Settings, name: str, needed: Collection[int], before: datetime, dry_run: bool
) -> Removed:
    place = settings.models / name
    if not numbers_in(place):
        return Removed(VERSIONS)
    if dry_run:
        numbers = prunable(settings.models, name, KEPT_VERSIONS, needed, before)
        return _removed(VERSIONS, [folder_of(place, number) for number in numbers], dry_run)
    gone = prune_versions(settings.models, name, KEPT_VERSIONS, needed, before)
    return Removed(VERSIONS, len(gone.numbers), gone.freed_bytes)


def _pruned_states(settings: Settings, name: str, needed: Needed, before: datetime, dry_run: bool) -> Removed:
    paths = sorted((settings.models / name / STATES).glob("*/*.safetensors"))
    return _removed(STATES_KIND, expired_states(paths, before, needed.states), dry_run)


def _pruned_days(settings: Settings, name: str, before: datetime, dry_run: bool) -> Removed:
    return _removed(DAY_FILES, expired_day_files((settings.days / name).glob("*.json"), before), dry_run)


def _with_needs(settings: Settings, name: str, removed: tuple[Removed, ...], needed: Needed) -> PrunedModel:
    """Return a model with what its versions that are left need."""
    left = versions(settings.models, name) if numbers_in(settings.models / name) else ()
    readable = [it for it in left if isinstance(it, VersionDescription)]
    aliased = read_aliases(settings.models / name).numbers
    models = [model for it in readable for model in it.calendars.values()]
    fits = {key for it in readable if it.number in aliased for model in it.calendars.values() for key in model.fits}
    backtests = {model.backtest.mlflow_run_id for model in models if model.backtest} | needed.runs
    return PrunedModel(name, removed, frozenset(backtests), tuple(it.number for it in left), frozenset(fits))


# --- Files of the home ---


def _pruned_files(
    settings: Settings, models: Sequence[PrunedModel], lifetimes: Lifetimes, now: datetime, dry_run: bool
) -> list[Removed]:
    used = {key for model in models for key in model.fits}
    fits = [path for path in _older(settings.fits, cutoff(now, lifetimes.fits_days)) if path.name not in used]
    reports = _older(settings.reports, cutoff(now, lifetimes.reports_days))
    return [_removed(REPORTS, reports, dry_run), _removed(FITS, fits, dry_run)]


def _older(folder: Path, before: datetime) -> list[Path]:
    """Return what a folder holds that was last changed before an instant, less drafts."""
    found = sorted(folder.iterdir()) if folder.is_dir() else []
    return [path for path in found if not path.name.startswith(".") and _is_older(path, before)]


def _is_older(path: Path, before: datetime) -> bool:
    """Return whether a file or folder was last changed before an instant; one that is gone by now is not."""
    try:
        return datetime.fromtimestamp(path.stat().st_mtime, UTC) < before
    except FileNotFoundError:
        return False


def _leftovers(settings: Settings, before: datetime) -> list[Path]:
    """Return what killed processes left that nobody reads any more; a record with a header waits for MLflow."""
    folders = (settings.fits, settings.models, settings.days, settings.work, settings.outbox, settings.reports)
    drafts = [path for folder in folders for path in drafts_in(folder) if is_abandoned(path)]
    return [path for path in (*drafts, *records_without_header(settings.outbox)) if _is_older(path, before)]


# --- MLflow ---


def _pruned_runs(settings: Settings, models: Sequence[PrunedModel], before: datetime, dry_run: bool) -> Removed:
    """Return what went of MLflow's runs: nothing where it is not known what the models need."""
    destination = destination_of(settings)
    if destination.own and not sqlite_path(destination.uri).is_file():
        return Removed(MLFLOW_RUNS)
    if not all(model.is_known for model in models):
        return Removed(MLFLOW_RUNS, problem="none was removed, as it is not known which ones the models above need")
    from pipeline.tracking.pruning import prune_runs  # noqa: PLC0415  brings mlflow: seconds of imports

    needed = {run for model in models for run in model.backtests}
    numbers = {model.name: model.numbers for model in models}
    try:
        gone = prune_runs(destination, before, needed, numbers, dry_run)
    except TrackingError as error:
        return Removed(MLFLOW_RUNS, problem=str(error))
    note = "" if destination.own or not gone.runs else SERVER_NOTE
    if gone.unreturned_bytes:
        note = f"{gone.unreturned_bytes / 1e6:.1f} MB in the database are free for later runs: it is in use."
    return Removed(MLFLOW_RUNS, gone.runs, gone.file_bytes + gone.database_bytes, note)


SERVER_NOTE = (
    "They are marked as deleted; `mlflow gc` on the server frees their space, and forgets with them which "
    "specifications they tested."
)
