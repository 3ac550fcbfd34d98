"""Delivery of the outbox: the calls of its records are made to MLflow, in their order and once."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path

from filelock import FileLock, Timeout
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, Run, RunTag, ViewType
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from pipeline.tracking.descriptions import NOTE_TAG, failure_note
from pipeline.tracking.metrics import in_batches
from pipeline.tracking.outbox import FILES, Call, Delivered, Journal, left_journals
from pipeline.tracking.runs import Record
from pipeline.tracking.store import Store, open_client, reason_of, translated, without_password

RECORD_TAG, ERROR_TAG = "tapecast.record", "tapecast.error"
STRANDED = "its process was killed, or could not write, before the run ended"

# Limits of one request; its size must also stay under a megabyte.
METRICS_PER_BATCH, PARAMS_PER_BATCH, TAGS_PER_BATCH = 800, 100, 100

REFUSALS = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST", "MALFORMED_REQUEST", "RESOURCE_ALREADY_EXISTS")
"""Answers that are the same at every try: the call is left out, so that it holds up no other."""

DAMAGE = ("malformed", "not a database")
"""What SQLite says of a damaged file, which MLflow calls a bad request."""

Answered = Callable[[], None]
"""Called after every call that was made."""


def deliver_left(store: Store, outbox: Path, answered: Answered) -> int:
    """Return how many records of processes that are gone were delivered, the oldest first.

    A run that its process did not end is KILLED; the same job may still continue it. Raises TrackingError.
    """
    lock = FileLock(outbox / ".lock", thread_local=False)
    try:
        lock.acquire(timeout=0)
    except (Timeout, OSError):  # another process delivers them, or none can
        return 0
    try:
        return _deliver_each(store, outbox, answered)
    finally:
        lock.release()


def _deliver_each(store: Store, outbox: Path, answered: Answered) -> int:
    delivered = 0
    for journal in left_journals(outbox, without_password(store.uri), store.experiment):
        try:
            delivered += _deliver_left(store, journal, answered)
        finally:
            journal.release()
    return delivered


def _deliver_left(store: Store, journal: Journal, answered: Answered) -> bool:
    if not journal.ended:
        _end_as_killed(journal)
    new = bool(journal.pending)
    deliver(store, journal, answered)
    if not journal.resumable:
        journal.remove()
    return new


def _end_as_killed(journal: Journal) -> None:
    for name in journal.open_runs:
        Record(journal, tuple(name.split("\n")) if name else ()).end("KILLED", STRANDED, stranded=True)


def deliver(store: Store, journal: Journal, answered: Answered) -> None:
    """Make the calls of a record that have not been made; raises TrackingError, and a later try goes on from there.

    A delivery that was killed between a call and its note makes that call again, which changes nothing.
    """
    if not journal.pending:
        return
    with translated(store.uri, f"write record {journal.header.id}"):
        client = open_client(store.uri)
        _start_again_where_lost(client, journal)
        for call in list(journal.pending):
            journal.save(_after(client, store, journal, call, answered))
            answered()


def _start_again_where_lost(client: MlflowClient, journal: Journal) -> None:
    """Forget what was delivered where the store does not have it, as when its database was set aside."""
    for run_id in journal.delivered.runs.values():
        try:
            client.get_run(run_id)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            journal.save(Delivered())
            return


def _after(client: MlflowClient, store: Store, journal: Journal, call: Call, answered: Answered) -> Delivered:
    """Return how far the delivery is after one more call."""
    before = replace(journal.delivered, calls=journal.delivered.calls + 1)
    if call["call"] != "start" and call["run"] in before.skipped:
        return before
    try:
        if call["call"] == "start":
            return _started(client, store, journal, call, before)
        run_id = before.runs.get(call["run"])
        if run_id is None:  # a disk without space lost the call that starts it
            return replace(before, refused=(*before.refused, f"{call['call']}: its run was not started"))
        if call["call"] == "files":
            _upload(client, run_id, journal.folder / FILES / call["folder"], answered)
        else:
            CALLS[call["call"]](client, run_id, call)
    except MlflowException as error:
        if not _is_refusal(error):
            raise
        return replace(before, refused=(*before.refused, f"{call['call']}: {reason_of(error)}"))
    return before


def _is_refusal(error: MlflowException) -> bool:
    return error.error_code in REFUSALS and not any(word in str(error) for word in DAMAGE)


def _started(client: MlflowClient, store: Store, journal: Journal, call: Call, before: Delivered) -> Delivered:
    """Start a run: that of this record where the store has it, else a new one."""
    name, identity = call["run"], f"{journal.header.id} {call['run']}".strip().replace("\n", " / ")
    parent = before.runs.get("\n".join(name.split("\n")[:-1])) if name else None
    tags = {**call["tags"], RECORD_TAG: identity, **({"mlflow.parentRunId": parent} if parent else {})}
    former = next(_runs_of(client, store, identity), None)
    skipped = {*before.skipped} - {name}
    if former is None:
        run_id = client.create_run(store.experiment_id, call["at"], tags, call["name"]).info.run_id
    else:
        run_id = former.info.run_id
        if call["once"] and former.info.status != "RUNNING":
            skipped |= {name}
        else:
            _continue(client, former, tags)
    return replace(before, runs={**before.runs, name: str(run_id)}, skipped=tuple(sorted(skipped)))


def _runs_of(client: MlflowClient, store: Store, identity: str) -> Iterator[Run]:
    quoted = identity.replace("'", "")
    yield from client.search_runs([store.experiment_id], f"tags.`{RECORD_TAG}` = '{quoted}'", ViewType.ACTIVE_ONLY, 1)


def _continue(client: MlflowClient, run: Run, tags: dict[str, str]) -> None:
    """Open a run again that was ended or left open: it goes on now."""
    client.update_run(run.info.run_id, status="RUNNING")
    client.log_batch(run.info.run_id, tags=[RunTag(*item) for item in tags.items()])
    if ERROR_TAG in run.data.tags:
        client.delete_tag(run.info.run_id, ERROR_TAG)


def _log(client: MlflowClient, run_id: str, call: Call) -> None:
    """Write metrics, params and tags in as few requests as MLflow's limits allow."""
    metrics = [Metric(key, value, call["at"], step) for key, value, step in call.get("metrics", ())]
    batches = zip_longest(
        in_batches(metrics, METRICS_PER_BATCH),
        in_batches([Param(*item) for item in call.get("params", {}).items()], PARAMS_PER_BATCH),
        in_batches([RunTag(*item) for item in call.get("tags", {}).items()], TAGS_PER_BATCH),
        fillvalue=(),
    )
    for metric_batch, param_batch, tag_batch in batches:
        client.log_batch(run_id, metric_batch, param_batch, tag_batch)


def _upload(client: MlflowClient, run_id: str, folder: Path, answered: Answered) -> None:
    """Upload the files of a folder, each by itself: a slow server answers many small requests, and not one large."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        parent = path.parent.relative_to(folder)
        client.log_artifact(run_id, str(path), None if parent == Path() else parent.as_posix())
        answered()


def _dataset(client: MlflowClient, run_id: str, call: Call) -> None:
    tag = InputTag("mlflow.data.context", "training and test")
    client.log_inputs(run_id, [DatasetInput(Dataset(**call["dataset"]), [tag])])


def _rename(client: MlflowClient, run_id: str, call: Call) -> None:
    client.update_run(run_id, name=call["name"])


def _end(client: MlflowClient, run_id: str, call: Call) -> None:
    if error := call["error"]:
        note = failure_note(error, client.get_run(run_id).data.tags.get(NOTE_TAG, ""))
        client.log_batch(run_id, tags=[RunTag(ERROR_TAG, error), RunTag(NOTE_TAG, note)])
    client.set_terminated(run_id, call["status"], call["at"])


CALLS: dict[str, Callable[[MlflowClient, str, Call], None]] = {
    "log": _log,
    "dataset": _dataset,
    "rename": _rename,
    "end": _end,
}
