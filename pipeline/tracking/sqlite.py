"""A SQLite file as MLflow store: named, checked, and laid out whole or not at all."""

import shutil
import tempfile
from pathlib import Path
from urllib.parse import unquote

from mlflow.tracking import MlflowClient

from pipeline.errors import UsageError

SQLITE = "sqlite:///"
HEADER = b"SQLite format 3\x00"


def is_sqlite(uri: str) -> bool:
    """Return whether the URI names a SQLite file."""
    return uri.startswith(SQLITE)


def database_path(uri: str) -> Path:
    """Return the file of a SQLite URI; raises UsageError where it names none."""
    name = unquote(uri.removeprefix(SQLITE).partition("?")[0])
    if name in ("", ":memory:"):
        raise UsageError(f"MLflow address {uri!r} names no file; expected sqlite:////absolute/path.db")
    return Path(name).absolute()


def prepare_database(path: Path) -> None:
    """Make the database with its tables where there is none; raises UsageError on what can be none.

    MLflow lays out its tables in some fifty steps: two processes that begin at once both fail, and one killed
    between two steps leaves a file that no later one can use. So they are laid out beside, and appear at once.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            _lay_out(path)
        with path.open("r+b") as file:
            header = file.read(len(HEADER))
    except OSError as error:
        raise UsageError(f"cannot write the MLflow database {path}: {error}; expected a writable folder") from error
    if header not in (b"", HEADER):
        raise UsageError(f"{path} begins with {header!r}; expected an MLflow database (SQLite), or no file at all")


def _lay_out(path: Path) -> None:
    with tempfile.TemporaryDirectory(prefix=".draft-", dir=path.parent) as name:
        draft, whole = Path(name) / "draft.db", Path(name) / "whole.db"
        MlflowClient(tracking_uri=f"{SQLITE}{draft}")  # the first client lays out the tables
        shutil.copyfile(draft, whole)  # a file of its own: MLflow keeps the draft open
        try:
            path.hardlink_to(whole)  # fails where another process was first, unlike a rename
        except FileExistsError:
            return
        except OSError:  # a file system without hard links
            whole.replace(path)
