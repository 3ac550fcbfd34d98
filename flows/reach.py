"""Prefect's server for a command: the named one, else a temporary one; the command runs with it or without."""

import os
import time
import tomllib
from functools import partial
from pathlib import Path

from flows.engine import Engine
from flows.mirror import Mirror
from flows.temporary_server import TemporaryServer, answers
from pipeline.errors import TapecastError
from pipeline.processes import end_leftovers
from pipeline.settings import Settings
from pipeline.workflow.progress import Progress

NAMED_SECONDS = 15.0
"""How long a command waits for a named server in all; a third of it for the first answer."""
FIRST_ANSWER_SECONDS = 5.0
TEMPORARY_SECONDS = 120.0
"""How long a temporary server may take to start: 8 to 36 s when cold, more under load; and a command waits for it."""
ASK_EVERY_SECONDS = 0.5
INTERRUPTED_SECONDS = 1.5
"""How long an interrupted command waits for its end to be shown, and then a temporary server has to end before it is
killed; its database bears that."""


class ReachedPrefect:
    """Prefect's side of a command: a server, and the mirror that shows the command on its pages."""

    def __init__(self, settings: Settings, progress: Progress) -> None:
        """Begin to reach the server, after ending what killed commands left behind; does not wait."""
        if ended := end_leftovers(settings.processes):
            progress.message(f"ended what a killed command had left behind: {ended} processes")
        named = named_server()
        self._server = None if named else TemporaryServer.started(settings.processes)
        if self._server:
            os.environ["PREFECT_API_URL"] = self._server.api_url  # before Prefect is imported, which reads it once
        self._seconds = NAMED_SECONDS - FIRST_ANSWER_SECONDS if named else TEMPORARY_SECONDS
        self._mirror = Mirror(partial(_connect, named, self._server), progress.message)

    @property
    def engine(self) -> Engine:
        """How the command's use case is run."""
        return self._mirror.engine

    def end(self, interrupted: bool) -> bool:
        """Wait until Prefect's pages show how the command ended, and return whether no fault of ours prevented it.

        After an interrupt that is a moment, and a temporary server ends at once; else it ends with this process.
        """
        self._mirror.end(INTERRUPTED_SECONDS if interrupted else self._seconds)
        if self._server and (interrupted or self.abandoned):
            self._server.end(INTERRUPTED_SECONDS)
        return self._mirror.fault is None

    @property
    def abandoned(self) -> bool:
        """Whether the server was given up: threads that still call it are then not waited for at the end."""
        return self._mirror.abandoned


def _connect(named: str | None, server: TemporaryServer | None) -> None:
    if server:
        server.wait(TEMPORARY_SECONDS)
    elif named:
        wait_until_answering(named, FIRST_ANSWER_SECONDS)


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
