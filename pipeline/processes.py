"""Processes: as plain values, identified by number and start time; and their start."""

import atexit
import gc
import os
import socket
from collections.abc import Mapping
from typing import Any

import psutil

SAME_SECONDS = 0.05
"""A process is distinguished from a later one of its number by its time since boot, which no clock can change."""


def spare_the_collector() -> None:
    """Look for garbage seldom: what is imported stays, and to search it, now and at the exit, takes seconds."""
    gc.set_threshold(100_000, 20, 20)
    atexit.register(gc.freeze)


def this_process() -> dict[str, Any]:
    """Return this process as plain JSON values."""
    return {"host": socket.gethostname(), "process": os.getpid(), "began": _seconds_from_boot(psutil.Process())}


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
        began = _seconds_from_boot(psutil.Process(noted["process"]))
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:  # another user's, which may be it
        return True
    return bool(abs(began - noted["began"]) < SAME_SECONDS)


def _seconds_from_boot(process: psutil.Process) -> float:
    return process.create_time() - psutil.boot_time()
