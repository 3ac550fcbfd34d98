"""Prefect's server for a command: the named one, else a temporary one, else none: the command goes on without."""

import importlib
import logging
import os
import threading
import time
import tomllib
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from flows.engine import PLAIN, Engine
from flows.temporary_server import TemporaryServer, answers
from pipeline.errors import TapecastError
from pipeline.processes import end_leftovers
from pipeline.settings import Settings
from pipeline.workflow.progress import Progress

NAMED_SECONDS = 15.0
"""How long a command waits for a named server in all; a third of it for the first answer."""
FIRST_ANSWER_SECONDS = 5.0
TEMPORARY_SECONDS = 120.0
"""How long a temporary server may take to start: 8 to 36 s when cold, more under load."""
ASK_EVERY_SECONDS = 0.5
INTERRUPTED_SECONDS = 1.5
"""How long a temporary server has to end after an interrupt, until it is killed; its database bears that."""
FOR_A_RUN = ("torch", "mlflow", "matplotlib.figure")
"""Slow imports that a run will need."""


@contextmanager
def prefect_reached(settings: Settings, progress: Progress, import_meanwhile: Sequence[str] = ()) -> Iterator[Engine]:
    """Yield how a command runs its use case: as a flow, or plainly where no server of Prefect answers in time.

    What former commands left behind when they were killed is ended first. `import_meanwhile` are slow imports to make
    while a server starts. A temporary server ends with this process, after an interrupt at once.
    """
    if ended := end_leftovers(settings.processes):
        progress.message(f"ended what a killed command had left behind: {ended} processes")
    named = named_server()
    server = None if named else TemporaryServer.started(settings.processes)
    try:
        yield _reached(named, server, progress, import_meanwhile)
    except KeyboardInterrupt:
        if server:
            server.end(INTERRUPTED_SECONDS)
        raise


def _reached(
    named: str | None, server: TemporaryServer | None, progress: Progress, import_meanwhile: Sequence[str]
) -> Engine:
    if server:
        os.environ["PREFECT_API_URL"] = server.api_url  # before Prefect is imported, which reads it once
    # A server starts for some seconds: time enough to import what the command will need.
    threading.Thread(target=_import_all, args=(import_meanwhile,), daemon=True).start()
    try:
        if server:
            server.wait(TEMPORARY_SECONDS)
        elif named:
            wait_until_answering(named, FIRST_ANSWER_SECONDS)
    except TapecastError as error:
        if server:
            server.end(INTERRUPTED_SECONDS)
        progress.message(f"{error}: the command goes on without Prefect, whose pages will not show it")
        return PLAIN
    return _engine(TEMPORARY_SECONDS if server else NAMED_SECONDS - FIRST_ANSWER_SECONDS, progress)


def named_server() -> str | None:
    """Return the address of the server that the environment names, or the active profile of Prefect's home."""
    return os.environ.get("PREFECT_API_URL") or _profile().get("PREFECT_API_URL")


def _profile() -> dict[str, str]:
    """Return the settings of the active profile; Prefect itself is not imported before its server is known."""
    try:
        profiles = tomllib.loads((Path(os.environ["PREFECT_HOME"]).expanduser() / "profiles.toml").read_text())
    except (KeyError, OSError, ValueError):  # ValueError: Prefect will say what is wrong with it
        return {}
    active = os.environ.get("PREFECT_PROFILE") or profiles.get("active")
    return dict(profiles.get("profiles", {}).get(active, {}))


def wait_until_answering(api_url: str, seconds: float) -> None:
    """Return once a named server answers; raises TapecastError where it does not within some time."""
    end = time.monotonic() + seconds
    while not answers(api_url, seconds):
        if time.monotonic() > end:
            raise TapecastError(f"no Prefect server answered at {api_url} within {seconds:.0f} s")
        time.sleep(ASK_EVERY_SECONDS)


def _engine(seconds: float, progress: Progress) -> Engine:
    from prefect.client.orchestration import get_client  # noqa: PLC0415  after its environment is set

    from flows.command_engine import Patience, command_engine  # noqa: PLC0415
    from flows.leftovers import end_killed  # noqa: PLC0415

    # A log that a server does not take is lost, and no error of the command; nor is a call that is broken off.
    logging.raiseExceptions = False
    warnings.filterwarnings("ignore", "coroutine '.*' was never awaited", RuntimeWarning)

    def give_up(error: BaseException) -> None:
        reason = str(error) or type(error).__name__
        progress.message(
            f"Prefect's server at {os.environ['PREFECT_API_URL']} failed ({reason}): the command goes on without, and "
            "Prefect's pages do not show how this run ended"
        )

    patience = Patience(seconds, give_up)

    def end_former() -> None:
        with get_client(sync_client=True) as client:
            for run in end_killed(client):
                progress.message(f"the command of Prefect's run {run.name!r} was killed: it is now shown as crashed")

    patience.spend(end_former)
    return command_engine(patience)


def _import_all(names: Sequence[str]) -> None:
    for name in names:
        importlib.import_module(name)
