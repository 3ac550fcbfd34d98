"""Runs by explicit id: started, written in few large batches, and ended."""

import io
import json
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from itertools import zip_longest
from typing import Literal

from mlflow.entities import Metric, Param, RunTag
from mlflow.tracking import MlflowClient

from pipeline.experiment import Experiment
from pipeline.processes import is_gone, this_process
from pipeline.tracking.descriptions import (
    MAX_TAG_LENGTH,
    NOTE_TAG,
    RunKind,
    failure_note,
    first_name,
    first_note,
    first_tags,
)
from pipeline.tracking.metrics import MetricValue, finite_values, flat_params, in_batches
from pipeline.tracking.store import Store, open_client, translated

RunStatus = Literal["FINISHED", "FAILED", "KILLED"]
MAX_STRANDED = 1000
STRANDED = "its process was killed before it could end the run"

PROCESS = "tapecast.process"

# Limits of one request; its size must also stay under a megabyte.
METRICS_PER_BATCH, PARAMS_PER_BATCH, TAGS_PER_BATCH = 800, 100, 100


def start_run(store: Store, kind: RunKind, experiment: Experiment, parent: str | None = None) -> str:
    """Return the id of a new run, RUNNING, with its experiment as params; `parent` is a run of several calendars.

    The benchmarks are no params yet: which of them are fitted depends on the bars.
    """
    with translated(store.uri, "start a run"):
        client = open_client(store.uri)
        under = {"mlflow.parentRunId": parent} if parent else {}
        tags = {**first_tags(kind, experiment), NOTE_TAG: first_note(kind, experiment), **under}
        run_id = create_run(client, store, first_name(kind, experiment), tags)
        write_batches(client, run_id, params=flat_params(experiment.model_dump(mode="json", exclude={"benchmarks"})))
        return run_id


def describe_run(store: Store, run_id: str, note: str, tags: Mapping[str, str]) -> None:
    """Write a run's description and tags."""
    with translated(store.uri, f"describe run {run_id}"):
        cut = {name: value[:MAX_TAG_LENGTH] for name, value in tags.items() if value}
        write_batches(open_client(store.uri), run_id, tags={**cut, NOTE_TAG: note})


def finish_run(store: Store, run_id: str, status: RunStatus, error: str = "") -> None:
    """End a run; `error` is the reason of a failed one."""
    with translated(store.uri, f"end run {run_id}"):
        client = open_client(store.uri)
        if error:
            reason, note = error[:MAX_TAG_LENGTH], client.get_run(run_id).data.tags.get(NOTE_TAG, "")
            write_batches(client, run_id, tags={"tapecast.error": reason, NOTE_TAG: failure_note(reason, note)})
        end_run(client, run_id, status)


def end_stranded_runs(store: Store) -> list[str]:
    """Return the ids of the runs that a killed process of this machine left RUNNING, after ending them as KILLED."""
    with translated(store.uri, "end the runs of killed processes"):
        client, query = open_client(store.uri), "attributes.status = 'RUNNING'"
        running = client.search_runs([store.experiment_id], query, max_results=MAX_STRANDED)
        stranded = [run.info.run_id for run in running if _is_stranded(run.data.tags.get(PROCESS, ""))]
        # Read the status again: a process that is gone may have ended its run just before it exited.
        gone = [run_id for run_id in stranded if client.get_run(run_id).info.status == "RUNNING"]
    for run_id in gone:
        finish_run(store, run_id, "KILLED", STRANDED)
    return gone


def _is_stranded(process: str) -> bool:
    """Return whether a tag names a process that is gone; False for a tag that cannot be read."""
    try:
        return is_gone(json.loads(process))
    except (ValueError, KeyError, TypeError):
        return False


def log_metrics(store: Store, run_id: str, values: Mapping[str, float]) -> None:
    """Write single values, such as `seconds/train`; those that are not finite are skipped."""
    with translated(store.uri, f"write metrics of run {run_id}"):
        write_batches(open_client(store.uri), run_id, [MetricValue(key, value) for key, value in values.items()])


@contextmanager
def child_run(client: MlflowClient, store: Store, parent: str, name: str, tags: Mapping[str, str]) -> Iterator[str]:
    """Return a context with the id of a new child run, which ends with it: FAILED after an exception."""
    run_id = create_run(client, store, name, {**tags, "mlflow.parentRunId": parent})
    try:
        yield run_id
    except BaseException:
        end_run(client, run_id, "FAILED")
        raise
    end_run(client, run_id, "FINISHED")


def create_run(client: MlflowClient, store: Store, name: str, tags: Mapping[str, str]) -> str:
    """Return the id of a new run, which names the process that writes it."""
    run = client.create_run(store.experiment_id, run_name=name, tags={**tags, PROCESS: json.dumps(this_process())})
    return str(run.info.run_id)


def end_run(client: MlflowClient, run_id: str, status: RunStatus, ended: int | None = None) -> None:
    """End a run, now or at `ended` (milliseconds since 1970), silently: the client would print "View run"."""
    with redirect_stdout(io.StringIO()):
        client.set_terminated(run_id, status, ended)


def write_batches(
    client: MlflowClient,
    run_id: str,
    values: Iterable[MetricValue] = (),
    params: Mapping[str, str] | None = None,
    tags: Mapping[str, str] | None = None,
) -> None:
    """Write metrics, params and tags in as few requests as MLflow's limits allow."""
    now = int(time.time() * 1000)
    metrics = [Metric(value.key, value.value, now, value.step) for value in finite_values(values)]
    batches = zip_longest(
        in_batches(metrics, METRICS_PER_BATCH),
        in_batches([Param(*item) for item in (params or {}).items()], PARAMS_PER_BATCH),
        in_batches([RunTag(*item) for item in (tags or {}).items()], TAGS_PER_BATCH),
        fillvalue=(),
    )
    for metric_batch, param_batch, tag_batch in batches:
        client.log_batch(run_id, metric_batch, param_batch, tag_batch)
