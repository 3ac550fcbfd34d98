"""Processes: as plain values, identified by number and start time; their start, and the end of those left over."""

import atexit
import gc
import json
import os
import signal
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

SAME_SECONDS = 0.05
"""A process is distinguished from a later one of its number by its time since boot, which no clock can change."""

KILL_SECONDS = 2.0
"""How long to wait for a killed process to be gone; one that waits for a dead disk goes later, by itself."""


def spare_the_collector() -> None:
    """Look for garbage seldom: what is imported stays, and to search it, now and at the exit, takes seconds."""
    gc.set_threshold(100_000, 20, 20)
    atexit.register(gc.freeze)


def this_process() -> dict[str, Any]:
    """Return this process as plain JSON values."""
    return _noted(psutil.Process())


def is_another_at_work(noted: Mapping[str, Any]) -> bool:
    """Return whether a noted process is another one than this and still lives.

    A process on another machine cannot be looked for, and is taken to be gone.
    """
    return bool(noted["process"] != os.getpid() and noted["host"] == socket.gethostname()) and _lives(noted)


def is_gone(noted: Mapping[str, Any]) -> bool:
    """Return whether a noted process has ended for certain: one on another machine cannot be looked for."""
    return bool(noted["host"] == socket.gethostname() and not _lives(noted))


@contextmanager
def without_signals(*numbers: signal.Signals) -> Iterator[None]:
    """Return a context in which processes are started that leave signals, SIGINT and SIGTERM by default, to this one.

    A terminal interrupts a whole process group and a service manager ends it; they inherit a mask that blocks them.
    """
    former = signal.pthread_sigmask(signal.SIG_BLOCK, numbers or (signal.SIGINT, signal.SIGTERM))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, former)


def note_child(folder: Path, process_id: int, leads_group: bool = False) -> Path | None:
    """Return the file that notes a process that this one has started, for `end_leftovers`; delete it at its end.

    One that leads a process group is ended with all of it. None where it cannot be written (the disk is full) or the
    process has ended already: a note is for after a kill -9 only, and never stops a run.
    """
    try:
        child = _noted(psutil.Process(process_id))
        note = {"parent": this_process(), "child": child, "leads_group": leads_group}
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{process_id}.json"
        path.write_text(json.dumps(note))
    except (OSError, psutil.Error):
        return None
    return path


def end_leftovers(folder: Path) -> int:
    """Return how many noted processes were killed, since the process that had started them is gone."""
    return sum(_end_leftover(path) for path in sorted(folder.glob("*.json")))


def _end_leftover(path: Path) -> bool:
    try:
        note = json.loads(path.read_text())
        if not is_gone(note["parent"]):
            return False
        ended = is_another_at_work(note["child"]) and _killed(note["child"]["process"], note.get("leads_group", False))
        path.unlink(missing_ok=True)
    except (ValueError, KeyError, TypeError):  # written when the disk was full: it notes nothing
        path.unlink(missing_ok=True)
        return False
    except OSError:  # deleted meanwhile, or in a folder that may only be read
        return False
    return ended


def _killed(process_id: int, leads_group: bool) -> bool:
    """Return whether a process, or the group that it leads, could be killed; else its children end by themselves."""
    try:
        process = psutil.Process(process_id)
        if leads_group and os.getpgid(process_id) == process_id:
            os.killpg(process_id, signal.SIGKILL)
        else:
            process.kill()
        process.wait(KILL_SECONDS)
    except psutil.TimeoutExpired:
        return True
    except (psutil.Error, ProcessLookupError, PermissionError):  # ended meanwhile, or another user's
        return False
    return True


def _noted(process: psutil.Process) -> dict[str, Any]:
    return {"host": socket.gethostname(), "process": process.pid, "began": _seconds_from_boot(process)}


def _lives(noted: Mapping[str, Any]) -> bool:
    try:
        process = psutil.Process(noted["process"])
        began = _seconds_from_boot(process)
        ended = process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:  # another user's, which may be it
        return True
    return bool(abs(began - noted["began"]) < SAME_SECONDS and not ended)


def _seconds_from_boot(process: psutil.Process) -> float:
    return process.create_time() - psutil.boot_time()
