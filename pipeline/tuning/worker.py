"""Who works on a study: a process, told from a later one of the same number by when it began."""

import socket
from collections.abc import Mapping
from typing import Any

import psutil


def this_worker() -> dict[str, Any]:
    """Return this process as plain JSON values."""
    return _described(psutil.Process())


def works_on(noted: Mapping[str, Any]) -> bool:
    """Return whether a noted process is another one than this and still lives.

    A process on another machine cannot be looked for, and is taken to be gone.
    """
    if noted == this_worker() or noted["host"] != socket.gethostname():
        return False
    try:
        return _described(psutil.Process(noted["process"])) == noted
    except psutil.Error:
        return False


def _described(process: psutil.Process) -> dict[str, Any]:
    return {"host": socket.gethostname(), "process": process.pid, "began": process.create_time()}
