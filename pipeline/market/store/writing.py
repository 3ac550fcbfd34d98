"""Atomic writes of the store's files, by one writer at a time, even if the process is killed."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from pipeline.errors import SourceUnavailableError, UsageError

LOCKS = ".locks"
LOCK_WAIT_SECONDS = 60.0


@contextmanager
def one_writer(path: Path, wait_seconds: float = LOCK_WAIT_SECONDS) -> Iterator[None]:
    """Return a context in which no other process or thread writes the file.

    Raises SourceUnavailableError where another one does so for longer than `wait_seconds`. The draft of a killed writer
    is removed on entry.
    """
    lock = _lock(path)
    try:
        lock.acquire(timeout=wait_seconds)
    except Timeout as error:
        raise SourceUnavailableError(
            f"another process has been writing {path} for {wait_seconds:g} s (it holds the lock {lock.lock_file}); "
            "wait until it ends, or end it, and try again"
        ) from error
    except (OSError, NotImplementedError) as error:
        raise UsageError(f"cannot lock {lock.lock_file}: {error}; expected a folder that you may write in") from error
    try:
        _remove_draft(path)
        yield
    finally:
        lock.release()


def write_atomically(path: Path, content: bytes) -> None:
    """Write the file so that it is the old one or the new one at any moment; call it within `one_writer`.

    Returns when the disk has it; raises UsageError where it cannot be written, and the old one stays.
    """
    draft = _draft(path)
    try:
        with draft.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
        raise UsageError(
            f"cannot write {path}: {error}; what was stored before is whole. Free disk space, or choose a folder that "
            "you may write in"
        ) from error


def sync_folder(folder: Path) -> None:
    """Wait until the disk has the folder's list of names; does nothing on Windows. Raises OSError."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _remove_draft(path: Path) -> None:
    """Remove the draft of a killed writer; under the lock no living process can own it."""
    try:
        _draft(path).unlink(missing_ok=True)
    except OSError as error:
        raise UsageError(f"cannot remove the draft {_draft(path)}: {error}; remove it by hand") from error


def _lock(path: Path) -> FileLock:
    folder = path.parent / LOCKS
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot make the folder {folder}: {error}; expected one that you may write in") from error
    return FileLock(folder / f"{path.name}.lock")


def _draft(path: Path) -> Path:
    """Return where the file is written first; one place per file, as it has one writer at a time."""
    return path.with_name(f".{path.name}.draft")
