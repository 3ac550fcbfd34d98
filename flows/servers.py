"""The pages of `tapecast ui`: MLflow's and Prefect's servers on this machine."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from flows.environment import prepare_environment
from pipeline.errors import ExitStatus, TapecastError, UsageError
from pipeline.processes import end_leftovers, note_child
from pipeline.settings import Settings

HOST = "127.0.0.1"


WATCH_SECONDS = 0.5
END_SECONDS = 3.0
"""How long the servers have to end, of the five seconds in which the pages do."""


LEASES_IN_FILES = "prefect.server.concurrency.lease_storage.filesystem"


def serve_pages(settings: Settings, mlflow_port: int, prefect_port: int) -> int:
    """Return the exit status once interrupted; raises UsageError where a port is taken."""
    prepare_environment(settings.root)
    end_leftovers(settings.processes)  # pages that were killed hold the ports
    commands = {}
    if "PREFECT_API_URL" not in os.environ:
        commands["Prefect"] = (prefect_command(prefect_port), prefect_port)
    if settings.tracking_uri is None:
        (settings.root / "mlflow").mkdir(parents=True, exist_ok=True)
        commands["MLflow"] = (mlflow_command(settings, mlflow_port), mlflow_port)
    if not commands:
        raise UsageError("PREFECT_API_URL and TAPECAST_TRACKING_URI name servers of their own: open those instead")
    for _, port in commands.values():
        refuse_taken_port(port)
    # The page in the browser sends requests here; Prefect would otherwise assume its default port.
    os.environ.setdefault("PREFECT_SERVER_UI_API_URL", f"http://{HOST}:{prefect_port}/api")
    # Kept in files, who holds a deployment's slot outlives the server's process, and so do runs under way.
    os.environ.setdefault("PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE", LEASES_IN_FILES)
    for name, (_, port) in commands.items():
        print(f"{name}: http://{HOST}:{port}  (answers in half a minute; end with Ctrl-C)", flush=True)
    return wait_for([command for command, _ in commands.values()], settings.processes)


def mlflow_command(settings: Settings, port: int) -> list[str]:
    """Return the command that serves our MLflow store."""
    store = ["--backend-store-uri", settings.mlflow_uri, "--artifacts-destination", str(settings.mlflow_artifacts)]
    return [sys.executable, "-m", "mlflow", "server", *store, "--host", HOST, "--port", str(port), "--workers", "1"]


def prefect_command(port: int) -> list[str]:
    """Return the command that serves our Prefect database."""
    return [sys.executable, "-m", "prefect", "server", "start", "--host", HOST, "--port", str(port)]


def refuse_taken_port(port: int) -> None:
    """Raise UsageError where something listens on the port already."""
    with socket.socket() as probe:
        if probe.connect_ex((HOST, port)) == 0:
            raise UsageError(f"port {port} is taken on {HOST}; choose another with --mlflow-port or --prefect-port")


def wait_for(commands: Sequence[Sequence[str]], notes: Path) -> int:
    """Run the servers until an interrupt or until one of them ends, then end all of them.

    They are noted in a folder while they run: where this process is killed, the next command ends them.
    """
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    # A session of its own: a Ctrl-C then reaches us alone, and a server's children end with its group.
    servers = [subprocess.Popen(command, env=environment, start_new_session=True) for command in commands]  # noqa: S603
    noted = [note_child(notes, server.pid, leads_group=True) for server in servers]
    try:
        while all(server.poll() is None for server in servers):
            time.sleep(WATCH_SECONDS)
        raise TapecastError("a server ended by itself; see its output above")
    except KeyboardInterrupt:
        return int(ExitStatus.OK)
    finally:
        end_groups(servers)
        for note in noted:
            if note is not None:
                note.unlink(missing_ok=True)


def end_groups(servers: "Sequence[subprocess.Popen[bytes]]") -> None:
    """End servers and their children: SIGTERM, and SIGKILL where one has not ended after a moment."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        for server in servers:
            with suppress(ProcessLookupError):
                os.killpg(server.pid, sign)
        end = time.monotonic() + END_SECONDS
        for server in servers:
            with suppress(subprocess.TimeoutExpired):
                server.wait(timeout=max(end - time.monotonic(), 0))
