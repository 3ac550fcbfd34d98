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
