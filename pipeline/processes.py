"""Processes: as plain values, each told from a later one of the same number by when it began; and their start."""

import atexit
import gc
import os
import socket
from collections.abc import Mapping
from typing import Any

import psutil

CLOCK_SECONDS = 5.0
"""When a process began is reckoned from the clock's idea of the machine's start, which moves as the clock is set."""


def spare_the_collector() -> None:
    """Look for garbage seldom: what is imported stays, and to search it, now and at the exit, takes seconds."""
    gc.set_threshold(100_000, 20, 20)
    atexit.register(gc.freeze)


def this_process() -> dict[str, Any]:
    """Return this process as plain JSON values."""
    return {"host": socket.gethostname(), "process": os.getpid(), "began": psutil.Process().create_time()}


def is_another_at_work(noted: Mapping[str, Any]) -> bool:
    """Return whether a noted process is another one than this and still lives.

    A process on another machine cannot be looked for, and is taken to be gone.
    """
    return bool(noted["process"] != os.getpid() and noted["host"] == socket.gethostname()) and _lives(noted)


def is_gone(noted: Mapping[str, Any]) -> bool:
    """Return whether a noted process has ended for certain: one on another machine cannot be looked for."""
    return bool(noted["host"] == socket.gethostname() and not _lives(noted))


def _lives(noted: Mapping[str, Any]) -> bool:
    try:
        moved: float = abs(psutil.Process(noted["process"]).create_time() - noted["began"])
    except psutil.Error:
        return False
    return moved < CLOCK_SECONDS
