"""Prefect's finished flow runs: those of Tapecast are deleted after their lifetime, with their logs and artifacts."""

import os
import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from flows.reach import NAMED_SECONDS, TEMPORARY_SECONDS, named_server, wait_until_answering
from flows.temporary_server import TemporaryServer
from pipeline.errors import TapecastError
from pipeline.settings import Settings
from pipeline.sqlite import compact
from pipeline.workflow.prune_result import FLOW_RUNS, Removed

if TYPE_CHECKING:
    from uuid import UUID

    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun

FLOW_NAMES = ("run", "backtest", "forecast", "daily", "sine", "ingest", "tune", "audit", "sanity", "tutorial", "prune")
"""The flows of Tapecast: a server that others use too has theirs, which stay."""
AT_ONCE = 200
LOG_SECONDS = 10.0
"""How long to wait for the server to delete the logs of deleted runs, which it does by itself, soon afterwards."""
ASK_EVERY_SECONDS = 0.2


def prune_on_named_server(before: datetime, dry_run: bool) -> Removed:
    """Return how many finished flow runs that ended before an instant were deleted on the server in use.

    Its database gives no space back to the disk: later runs fill what is free.
    """
    from prefect.exceptions import PrefectException  # noqa: PLC0415  a second of imports

    try:
        if "PREFECT_API_URL" in os.environ:
            wait_until_answering(os.environ["PREFECT_API_URL"], NAMED_SECONDS)
        count = _deleted(before, dry_run)
    except (TapecastError, httpx.HTTPError, PrefectException) as error:
        return Removed(FLOW_RUNS, problem=f"Prefect's server did not do it: {type(error).__name__}: {error}")
    note = "Their space in Prefect's database is free for later runs." if count and not dry_run else ""
    return Removed(FLOW_RUNS, count, note=note)


def prune_in_home(settings: Settings, before: datetime, dry_run: bool) -> Removed:
    """Return what went of the home's own Prefect database by way of a server of a moment, where none is named.

    After the server's end nothing uses the file, and it is written anew without its free pages.
    """
    if named_server():
        return prune_on_named_server(before, dry_run)
    database = Path(os.environ.get("PREFECT_HOME", settings.root / "prefect")) / "prefect.db"
    if not database.is_file():
        return Removed(FLOW_RUNS)
    server = TemporaryServer.started(settings.processes)
    os.environ["PREFECT_API_URL"] = server.api_url  # before Prefect is imported, which reads it once
    try:
        server.wait(TEMPORARY_SECONDS)
        found = prune_on_named_server(before, dry_run)
    except TapecastError as error:
        found = Removed(FLOW_RUNS, problem=str(error))
    finally:
        server.end()
    if not found.count or dry_run:
        return found
    returned = compact(database)
    return found if returned is None else Removed(FLOW_RUNS, found.count, returned, problem=found.problem)


def _deleted(before: datetime, dry_run: bool) -> int:
    """Return how many flow runs were deleted, or would be."""
    from prefect.client.orchestration import get_client  # noqa: PLC0415  a second of imports

    with get_client(sync_client=True) as client:
        runs = list(_finished_before(client, before))
        if not dry_run:
            for first in range(0, len(runs), AT_ONCE):
                _delete(client, [run.id for run in runs[first : first + AT_ONCE]])
        return len(runs)


def _finished_before(client: "SyncPrefectClient", before: datetime) -> "Iterator[FlowRun]":
    from prefect.client.schemas import filters, sorting  # noqa: PLC0415
    from prefect.client.schemas.objects import TERMINAL_STATES  # noqa: PLC0415

    finished = filters.FlowRunFilter(
        end_time=filters.FlowRunFilterEndTime(before_=before),
        state=filters.FlowRunFilterState(type=filters.FlowRunFilterStateType(any_=sorted(TERMINAL_STATES))),
    )
    ours = filters.FlowFilter(name=filters.FlowFilterName(any_=list(FLOW_NAMES)))
    offset = 0
    while runs := client.read_flow_runs(
        flow_filter=ours,
        flow_run_filter=finished,
        sort=sorting.FlowRunSort.END_TIME_DESC,
        limit=AT_ONCE,
        offset=offset,
    ):
        yield from runs
        offset += len(runs)


def _delete(client: "SyncPrefectClient", run_ids: "Sequence[UUID]") -> None:
    """Delete flow runs, their artifacts first: the server deletes their tasks and logs with them, but not those."""
    from prefect.client.schemas import filters  # noqa: PLC0415
    from prefect.exceptions import ObjectNotFound  # noqa: PLC0415

    of_runs = filters.ArtifactFilterFlowRunId(any_=list(run_ids))
    while artifacts := client.read_artifacts(
        artifact_filter=filters.ArtifactFilter(flow_run_id=of_runs), limit=AT_ONCE
    ):
        for artifact in artifacts:
            client.delete_artifact(artifact.id)
    for run_id in run_ids:
        try:
            client.delete_flow_run(run_id)
        except ObjectNotFound:  # somebody else deleted it meanwhile
            continue
    _wait_for_logs(client, run_ids)


def _wait_for_logs(client: "SyncPrefectClient", run_ids: "Sequence[UUID]") -> None:
    from prefect.client.schemas import filters  # noqa: PLC0415

    of_runs = filters.LogFilter(flow_run_id=filters.LogFilterFlowRunId(any_=list(run_ids)))
    end = time.monotonic() + LOG_SECONDS
    while client.read_logs(log_filter=of_runs, limit=1) and time.monotonic() < end:
        time.sleep(ASK_EVERY_SECONDS)
