"""Files and folders that appear whole or not at all: written as a draft in the same folder, then renamed."""

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from pipeline.errors import UsageError

CLOCK_SECONDS = 86_400.0
"""By how much the start of a process and the time of a file may differ by a clock that was set."""
_DRAFT = re.compile(r"\.draft-(\d+)-")


@contextmanager
def draft_folder(folder: Path) -> Iterator[Path]:
    """Return a context whose value is a new folder within `folder`, gone at its end unless it was renamed.

    Drafts that a killed process left there are removed first.
    """
    folder.mkdir(parents=True, exist_ok=True)
    remove_abandoned(folder)
    draft = Path(tempfile.mkdtemp(prefix=f".draft-{os.getpid()}-", dir=folder))
    try:
        yield draft
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def remove_abandoned(folder: Path) -> None:
    """Remove the drafts of processes that are no more."""
    for path in folder.iterdir():
        made = _DRAFT.match(path.name)
        if made and not psutil.pid_exists(int(made[1])):
            shutil.rmtree(path, ignore_errors=True)


def drafts_in(folder: Path) -> list[Path]:
    """Return the drafts in a folder and the folders below it, those of living processes too."""
    found = (Path(parent, name) for parent, names, _ in os.walk(folder) for name in names)  # whatever goes meanwhile
    return sorted(path for path in found if _DRAFT.match(path.name))


def is_abandoned(draft: Path) -> bool:
    """Return whether the process that made a draft is no more: one that began a day later has only got its number.

    In a container the same few numbers are given again at each start.
    """
    made = _DRAFT.match(draft.name)
    try:
        return made is not None and psutil.Process(int(made[1])).create_time() > draft.stat().st_mtime + CLOCK_SECONDS
    except psutil.NoSuchProcess:
        return True
    except (psutil.Error, OSError):  # another user's process, or a draft that is gone by now
        return False


def disk_bytes(path: Path) -> int:
    """Return the size of a file, or of all files in a folder."""
    files = path.rglob("*") if path.is_dir() else (path,)
    return sum(file.stat().st_size for file in files if file.is_file())


def remove_whole(path: Path) -> int:
    """Return the size of a file or folder after removing it: first out of sight as a whole, so that no half is left.

    What a killed process has put out of sight is removed with the next draft in the same folder. Raises OSError.
    """
    size_bytes = disk_bytes(path)
    if path.name.startswith("."):  # out of sight already
        shutil.rmtree(path)
        return size_bytes
    if not path.is_dir():
        path.unlink()
        return size_bytes
    with draft_folder(path.parent) as draft:
        path.rename(draft / path.name)
    return size_bytes


def write_through(path: Path, content: bytes) -> None:
    """Write a file and wait until the disk has it."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def write_whole(path: Path, content: bytes) -> None:
    """Write a file through a draft; raises UsageError, and leaves nothing, where that cannot be done."""
    try:
        with draft_folder(path.parent) as draft:
            write_through(draft / path.name, content)
            (draft / path.name).replace(path)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error}; expected a folder that you may write in") from error


def refuse_unwritable(folder: Path) -> None:
    """Raise UsageError unless files can be written in the folder, which is created."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UsageError(f"cannot write in {folder}: {error}; expected a folder that you may write in") from error
