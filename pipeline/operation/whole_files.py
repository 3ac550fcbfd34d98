"""Files that appear whole or not at all, whatever happens while they are written."""

import os
import tempfile
from pathlib import Path

from pipeline.errors import UsageError


def write_whole(path: Path, content: bytes) -> None:
    """Write a file through a draft beside it; raises UsageError, and leaves nothing, where that cannot be done."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".draft-") as folder:
            draft = Path(folder) / path.name
            with draft.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error}; expected a folder that you may write in") from error
