"""Folders that results go to: looked at before the work begins."""

import tempfile
from pathlib import Path

from pipeline.errors import UsageError


def refuse_unwritable(folder: Path) -> None:
    """Raise UsageError unless files can be written in the folder, which is created."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UsageError(f"cannot write in {folder}: {error}; expected a folder that you may write in") from error
