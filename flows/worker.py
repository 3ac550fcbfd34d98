"""The worker of the deployments: makes them, ends what a former worker left unfinished, and keeps Prefect's own."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import psutil
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
    WorkPoolFilter,
    WorkPoolFilterName,
)
from prefect.client.schemas.objects import FlowRun, WorkerStatus
from prefect.exceptions import ObjectNotFound, PrefectException
from prefect.states import Crashed

from flows.automations import put_automations
from flows.leftovers import AT_ONCE, UNFINISHED, end_killed
from pipeline.errors import ExitStatus, TapecastError
from pipeline.processes import end_leftovers, note_child, without_signals

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

HOST = "127.0.0.1"
POOL = "tapecast"
PATIENCE_SECONDS = 120
RUN_END_SECONDS = 2.0
"""How long the runs under way have to say that they end, of the five seconds in which a worker stops."""
WORKER_END_SECONDS = 1.5
GONE = "The process of this run is gone, and its worker too. Finished fits are kept: the next run continues from them."


def work(name: str, health_port: int | None, notes: Path, alert_block: str | None = None) -> int:
    """Make pool and deployments, end stranded runs, and keep Prefect's worker of that name until interrupted.

    Alerts are sent to `alert_block`, a notification block written as type/name, to none where it is None. Raises
    TapecastError where the server does not answer, Prefect refuses the deployments, or its worker ends, UsageError
    where there is no such block.
    """
    end_leftovers(notes)
    try:
        with get_client(sync_client=True) as client:
            prepare(client, name, alert_block)
    # ValueError: an answer that is none of Prefect's
    except (httpx.HTTPError, httpx.InvalidURL, PrefectException, ValueError) as error:
        raise TapecastError(
            f"Prefect's server did not do what the worker requested: {type(error).__name__}: {error}; expected one "
            "that keeps work pools and deployments. See its log, and start the worker again"
        ) from error
    started = [sys.executable, "-m", "prefect", "worker", "start", "--pool", POOL, "--name", name]
    if health_port is not None:
        os.environ |= {"PREFECT_WORKER_WEBSERVER_HOST": HOST, "PREFECT_WORKER_WEBSERVER_PORT": str(health_port)}
        started.append("--with-healthcheck")
    return keep(started, notes)


def keep(command: Sequence[str], notes: Path) -> int:
    """Return the exit status once interrupted; until then Prefect's worker runs.

    It would kill its runs when it is asked to stop. So it does not see a service manager's SIGTERM, nor a terminal's
    interrupt, and its runs have a moment to be closed in Prefect and in MLflow.
    """
    with without_signals(signal.SIGTERM):
        worker = subprocess.Popen(command, start_new_session=True)  # noqa: S603  Prefect
    note = note_child(notes, worker.pid)
    try:
        status = worker.wait()
        raise TapecastError(f"Prefect's worker ended by itself with exit status {status}; see its output above")
    except KeyboardInterrupt:
        stop(worker)
        return int(ExitStatus.OK)
    finally:
        worker.kill()
        worker.wait()
        if note is not None:
            note.unlink(missing_ok=True)


def stop(worker: "subprocess.Popen[bytes]") -> None:
    """End the runs of a worker, then the worker, each within a moment."""
    try:
        runs = psutil.Process(worker.pid).children()
    except psutil.Error:
        return
    for run in runs:
        with suppress(psutil.Error):
            run.terminate()
    _, late = psutil.wait_procs(runs, RUN_END_SECONDS)
    for run in late:
        with suppress(psutil.Error):
            run.kill()
    worker.send_signal(signal.SIGINT)
    with suppress(subprocess.TimeoutExpired):
        worker.wait(WORKER_END_SECONDS)


def prepare(client: "SyncPrefectClient", name: str, alert_block: str | None = None) -> None:
    """Make what the worker needs, and end what a former one left unfinished."""
    wait_until_answering(client)
    if not has_pool(client):
        prefect("work-pool", "create", POOL, "--type", "process")
    automations = put_automations(client, alert_block, POOL)  # before the runs are ended, which it may send
    print(
        f"alerts go to {alert_block}" if automations else "alerts are off: TAPECAST_ALERT_BLOCK names no block",
        flush=True,
    )
    prefect("deploy", "--all")
    for run in end_killed(client):
        print(f"the command of run {run.name!r} was killed: crashed", flush=True)
    if others := others_at_work(client, name):
        print(f"unfinished runs, if any, are left to other workers: {', '.join(others)}", flush=True)
        return
    for run in end_stranded(client):
        print(f"run {run.name!r} was stranded in {run.state_name}: crashed, its slot is free", flush=True)


def wait_until_answering(client: "SyncPrefectClient", seconds: float = PATIENCE_SECONDS) -> None:
    """Return once Prefect's server answers; raises TapecastError where it does not within some time."""
    end = time.monotonic() + seconds
    while error := client.api_healthcheck():
        if time.monotonic() > end:
            raise TapecastError(
                f"no Prefect server answers at {client.api_url} ({error}); expected one within {seconds:.0f} s: start "
                "it with `tapecast ui`, or name yours in PREFECT_API_URL"
            )
        time.sleep(1)


def has_pool(client: "SyncPrefectClient") -> bool:
    """Return whether the server has our work pool."""
    try:
        client.read_work_pool(POOL)
    except ObjectNotFound:
        return False
    return True


def prefect(*arguments: str) -> None:
    """Run a command of Prefect's, which prints its own output; raises TapecastError where it fails."""
    ended = subprocess.run([sys.executable, "-m", "prefect", "--no-prompt", *arguments], check=False)  # noqa: S603
    if ended.returncode:
        raise TapecastError(
            f"`prefect {' '.join(arguments)}` ended with exit status {ended.returncode}; see its output above"
        )


def others_at_work(client: "SyncPrefectClient", name: str) -> list[str]:
    """Return the names of the workers of the pool that are online, and our own where another one of it runs here."""
    workers = client.read_workers_for_work_pool(POOL)
    online = [worker.name for worker in workers if worker.status == WorkerStatus.ONLINE and worker.name != name]
    return [*online, *([name] if runs_here(name) else [])]


def runs_here(name: str) -> bool:
    """Return whether a process of this machine is the pool's worker of a name on the same server.

    Another installation's has the same name by default, and is this pool's only where its server is the same.
    """
    named = ["--pool", POOL, "--name", name]
    return any(
        any(named == line[at : at + 4] for at in range(len(line)))
        and _server_of(process) in {None, _server(os.environ)}
        for process in psutil.process_iter(["cmdline"])
        if (line := process.info["cmdline"])
    )


def _server_of(process: psutil.Process) -> str | None:
    """Return the server that a process is named in its environment; None where that cannot be read."""
    try:
        return _server(process.environ())
    except (psutil.Error, OSError):  # another user's, whose runs cannot be seen either
        return None


def _server(environment: Mapping[str, str]) -> str:
    return environment.get("PREFECT_API_URL", "").rstrip("/")


def end_stranded(client: "SyncPrefectClient") -> Sequence[FlowRun]:
    """Return the unfinished runs of the pool that no process of this machine works on, after setting them to Crashed.

    Each holds a slot of its deployment's concurrency limit, so that nothing else of the deployment runs: some minutes
    where the server keeps leases in files, for good where it forgets at its end who holds a slot.
    """
    alive = running_here()  # before the runs are read: one that ends between is not among them
    state = FlowRunFilterState(type=FlowRunFilterStateType(any_=UNFINISHED))
    runs = client.read_flow_runs(
        flow_run_filter=FlowRunFilter(state=state),
        work_pool_filter=WorkPoolFilter(name=WorkPoolFilterName(any_=[POOL])),
        limit=AT_ONCE,
    )
    stranded = [run for run in runs if str(run.id) not in alive]
    for run in stranded:
        client.set_flow_run_state(run.id, Crashed(message=GONE), force=True)
    return stranded


def running_here() -> set[str]:
    """Return the ids of the flow runs that processes of this machine work on, whoever started them."""
    found = set()
    for process in psutil.process_iter():
        try:
            found.add(process.environ().get("PREFECT__FLOW_RUN_ID", ""))
        except (psutil.Error, OSError):
            continue  # ended meanwhile, or another user's
    return found
