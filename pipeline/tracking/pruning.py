"""Old runs of an MLflow store: found, marked as deleted, and in a home's own database freed for good.

The tags of a run that noted what it tested, or witnesses an entry of the ledger, are read for as long as there are
runs: of such a run the files go and the row stays, marked as deleted, which is still counted and compared.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import unquote, urlsplit

from mlflow.entities import LifecycleStage, Run, ViewType
from mlflow.tracking import MlflowClient

from pipeline.files import disk_bytes, remove_whole
from pipeline.operation.lifetimes import StoredRun, expired_runs
from pipeline.sqlite import compact, free_bytes
from pipeline.tracking.database import database_path
from pipeline.tracking.delivery import RECORD_TAG
from pipeline.tracking.ledger_heads import LEDGER_TAG
from pipeline.tracking.registry import VERSION_TAG, registered_name, registered_versions
from pipeline.tracking.store import Destination, found_runs, open_client, translated
from pipeline.tracking.tested_specifications import SPECIFICATION

PARENT_TAG = "mlflow.parentRunId"
WORTHWHILE_BYTES = 2**20
"""A database with less free space than this is not written anew."""


@dataclass(frozen=True)
class PrunedRuns:
    """How many runs went, how many bytes their files took, and by how many the database became smaller.

    `unreturned_bytes` are free in a database that was in use, or on a disk too full to write it anew.
    """

    runs: int = 0
    file_bytes: int = 0
    database_bytes: int = 0
    unreturned_bytes: int = 0


@dataclass(frozen=True)
class _Pruning:
    """A store of which runs are removed: `root` is the folder of a home's own artifacts, None on another's server."""

    client: MlflowClient
    root: Path | None

    def files_of(self, run: Run) -> Path | None:
        """Return the folder of a run's files where it is the home's own and still there."""
        path = Path(unquote(urlsplit(run.info.artifact_uri or "").path)).parent
        its_own = self.root is not None and path.parent == self.root and path.name == run.info.run_id
        return path if its_own and path.is_dir() else None

    def has_work(self, run: Run) -> bool:
        """Return whether anything of an expired run is still to be removed."""
        active = run.info.lifecycle_stage == LifecycleStage.ACTIVE
        return active or self.files_of(run) is not None or (self.root is not None and not is_evidence(run))

    def remove(self, run: Run) -> int:
        """Return the bytes of a run's files after removing what may go: first it is marked, so that a kill is seen."""
        if run.info.lifecycle_stage == LifecycleStage.ACTIVE:
            self.client.delete_run(run.info.run_id)
        if self.root is None:
            return 0
        folder = self.files_of(run)
        freed_bytes = 0 if folder is None else remove_whole(folder)
        if not is_evidence(run):
            # What `mlflow gc` calls for a run; the command itself would remove every deleted experiment too.
            self.client._tracking_client.store._hard_delete_run(run.info.run_id)
        return freed_bytes


def is_evidence(run: Run) -> bool:
    """Return whether tags of a run are read later: what it tested, or which entry of the ledger it witnesses."""
    return bool({SPECIFICATION, LEDGER_TAG} & {*run.data.tags})


def prune_runs(
    destination: Destination,
    before: datetime,
    needed: Collection[str],
    versions: Mapping[str, Collection[int]],
    dry_run: bool,
) -> PrunedRuns:
    """Remove the runs of a store's experiment that started before an instant and are not needed; return what went.

    `needed` has ids of runs and records; the runs with the files of these `versions` (model name -> numbers) in the
    registry are needed too. Of a home's own database (`destination.own`) files and rows go; on another server runs are
    only marked as deleted, and its `mlflow gc` frees their space. Raises TrackingError, after which a later call goes
    on.
    """
    with translated(destination.uri, "remove old runs"):
        client = open_client(destination.uri)
        experiment = client.get_experiment_by_name(destination.experiment)
        if experiment is None:
            return PrunedRuns()
        root = Path(unquote(urlsplit(experiment.artifact_location).path)) if destination.own else None
        pruning = _Pruning(client, root)
        runs = {run.info.run_id: run for run in found_runs(client, experiment.experiment_id, "", ViewType.ALL)}
        mirrored = _runs_of_versions(client, versions)
        expired = expired_runs([stored_run(run) for run in runs.values()], before, {*needed, *mirrored})
        removed = [runs[it.id] for it in expired if pruning.has_work(runs[it.id])]
        if dry_run:
            return PrunedRuns(len(removed), sum(_size_bytes(pruning, run) for run in removed))
        if destination.own:
            _forget_versions(client, versions, {run.info.run_id for run in removed})
        file_bytes = sum(pruning.remove(run) for run in removed)
    return _with_compact_database(destination, PrunedRuns(len(removed), file_bytes))


def _size_bytes(pruning: _Pruning, run: Run) -> int:
    folder = pruning.files_of(run)
    return 0 if folder is None else disk_bytes(folder)


def _with_compact_database(destination: Destination, pruned: PrunedRuns) -> PrunedRuns:
    """Return what went with what the home's own database gave back to the disk, or could not."""
    if not destination.own or free_bytes(path := database_path(destination.uri)) < WORTHWHILE_BYTES:
        return pruned
    returned = compact(path)
    if returned is None:
        return PrunedRuns(pruned.runs, pruned.file_bytes, unreturned_bytes=free_bytes(path))
    return PrunedRuns(pruned.runs, pruned.file_bytes, returned)


def stored_run(run: Run) -> StoredRun:
    """Return a run as far as its removal depends on it."""
    return StoredRun(
        id=run.info.run_id,
        started_at=datetime.fromtimestamp(run.info.start_time / 1000, UTC),
        running=run.info.status in ("RUNNING", "SCHEDULED"),
        parent=run.data.tags.get(PARENT_TAG),
        record=run.data.tags.get(RECORD_TAG, "").split(" ")[0] or None,
    )


def _runs_of_versions(client: MlflowClient, versions: Mapping[str, Collection[int]]) -> set[str]:
    """Return the ids of the runs whose artifacts the registry's versions of these numbers are."""
    return {
        str(it.run_id)
        for name, numbers in versions.items()
        for it in registered_versions(client, name)
        if VERSION_TAG in it.tags and int(it.tags[VERSION_TAG]) in numbers
    }


def _forget_versions(client: MlflowClient, versions: Mapping[str, Collection[int]], removed: Collection[str]) -> None:
    """Remove the registry's entries of versions whose files go with their runs."""
    found = [
        (name, str(it.version))
        for name in versions
        for it in registered_versions(client, name)
        if VERSION_TAG in it.tags and it.run_id in removed
    ]
    for name, number in found:
        client.delete_model_version(registered_name(name), number)
