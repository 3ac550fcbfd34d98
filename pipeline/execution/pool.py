"""A pool of worker processes: calls of importable functions, each run in a worker process.

Workers are started as a module of this package (never by a fork, which may hang in a process that has used torch's
threads, and never by importing the user's `__main__`), find modules where this process does, and end with it.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from pipeline.processes import note_child, without_signals

Key = TypeVar("Key")


@dataclass(frozen=True)
class Finished(Generic[Key]):
    """A call that has ended: its key and its result, or `died` where its process ended without one."""

    key: Key
    result: Any = None
    died: bool = False


@dataclass(frozen=True, eq=False)
class _Worker:
    process: "subprocess.Popen[bytes]"
    connection: "Connection[tuple[Any, ...], Any]"
    note: Path | None

    def end(self) -> None:
        """Wait for the process, which has ended or was killed, and delete the note on it."""
        self.connection.close()
        self.process.wait()
        if self.note is not None:
            self.note.unlink(missing_ok=True)


class WorkerPool(Generic[Key]):
    """Up to `size` worker processes, started as they are needed and ended with the context.

    They are noted in the folder `notes` while they live, so that they can be ended after a kill -9 of this process.
    """

    def __init__(self, size: int, notes: Path | None = None) -> None:
        self._size = size
        self._notes = notes
        self._idle: list[_Worker] = []
        self._busy: dict[_Worker, Key] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End every worker at once: a call that still runs is lost.

        They are killed, since they leave signals to this process and have nothing to clear away.
        """
        workers = (*self._idle, *self._busy)
        for worker in workers:
            worker.process.kill()
        for worker in workers:
            worker.end()

    @property
    def has_room(self) -> bool:
        """Whether another call can start at once."""
        return len(self._busy) < self._size

    @property
    def is_busy(self) -> bool:
        """Whether a call is running."""
        return bool(self._busy)

    def start(self, key: Key, function: Callable[..., Any], *arguments: Any) -> None:
        """Start a call in a worker that has nothing to do; the function must be importable by its module and name."""
        worker = self._idle.pop() if self._idle else _started(self._notes)
        self._busy[worker] = key
        with suppress(OSError):  # its process has ended: `finished` reports that
            worker.connection.send((function, *arguments))

    def finished(self) -> Iterator[Finished[Key]]:
        """Wait until a call has ended, and yield all that have."""
        by_connection = {worker.connection: worker for worker in self._busy}
        for connection in wait(list(by_connection)):
            worker = by_connection[connection]  # type: ignore[index]
            key = self._busy.pop(worker)
            try:
                result = worker.connection.recv()
            except (EOFError, OSError):
                worker.end()
                yield Finished(key, died=True)
                continue
            self._idle.append(worker)
            yield Finished(key, result)


def _started(notes: Path | None) -> _Worker:
    ours, theirs = Pipe()
    command = [sys.executable, "-P", "-m", "pipeline.execution.worker", str(theirs.fileno()), str(os.getpid())]
    # The same modules as here, whatever lies in the folder that this process was started in.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path)}
    with without_signals():
        process = subprocess.Popen(command, env=environment, pass_fds=[theirs.fileno()])  # noqa: S603
    theirs.close()
    return _Worker(process, ours, note_child(notes, process.pid) if notes else None)
