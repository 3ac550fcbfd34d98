"""MLflow's SQLite file: created whole, and set aside where it is damaged."""

import shutil
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

from filelock import FileLock
from mlflow.tracking import MlflowClient

from pipeline.errors import TrackingError, UsageError
from pipeline.files import draft_folder
from pipeline.sqlite import sqlite_path, sqlite_uri

SQLITE_HEADER = b"SQLite format 3\x00"
FOREIGN, DAMAGED = 26, 11  # SQLITE_NOTADB, SQLITE_CORRUPT
CHECKED_BYTES = 64 * 2**20
"""Up to this size every page is checked, in 0.2 s; of a larger file the length and the schema."""
LOCK_SECONDS = 10


def database_path(uri: str) -> Path:
    """Return the file of a SQLite URI; raises UsageError where it names no file."""
    path = sqlite_path(uri)
    if path in (Path(), Path(":memory:")):
        raise UsageError(f"MLflow address {uri!r} names no file; expected sqlite:////absolute/path.db")
    return path.absolute()


def header_of(path: Path) -> bytes:
    """Return the first bytes of a file, which are SQLITE_HEADER in a database and none in an empty file."""
    with path.open("rb") as file:
        return file.read(len(SQLITE_HEADER))


def prepare_database(path: Path) -> Path | None:
    """Create the database with its tables where there is none, and return where a damaged one was moved to.

    MLflow creates its tables in about fifty steps: two processes that begin at once both fail, and one killed
    between two steps leaves an unusable file. So the tables are created in a draft, which then appears whole. Raises
    TrackingError where the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        set_aside = _set_aside(path) if is_damaged(path) else None
        if not path.exists() or not path.stat().st_size:
            _create_database(path)
        with path.open("r+b"):
            return set_aside
    except OSError as error:
        raise TrackingError(f"cannot write the MLflow database {path}: {error}; expected a writable folder") from error


def is_damaged(path: Path) -> bool:
    """Return whether SQLite cannot read the file; one that is locked or absent is not damaged."""
    if not path.exists() or not path.stat().st_size:
        return False
    size = path.stat().st_size
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=1)) as database:
            found = database.execute("PRAGMA quick_check(1)" if size <= CHECKED_BYTES else _LENGTH, ()).fetchone()
    except sqlite3.DatabaseError as error:
        return error.sqlite_errorcode & 0xFF in (FOREIGN, DAMAGED)
    return bool(found[0] != "ok") if size <= CHECKED_BYTES else bool(found[0] > size)


_LENGTH = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size"


def _set_aside(path: Path) -> Path | None:
    """Rename a damaged database, unless another process has just done it, and return its new name."""
    target = path.with_name(f"{path.stem}-damaged-{datetime.now(UTC):%Y-%m-%dT%H%M%S}{path.suffix}")
    lock = FileLock(path.with_name(f".{path.name}.lock"))
    with lock.acquire(timeout=LOCK_SECONDS):
        if not is_damaged(path):
            return None
        path.rename(target)
        for ending in ("-wal", "-shm", "-journal"):  # they belong to the old content
            companion = Path(f"{path}{ending}")
            if companion.exists():
                companion.rename(f"{target}{ending}")
    return target


def _create_database(path: Path) -> None:
    with draft_folder(path.parent) as folder:
        draft, whole = folder / "draft.db", folder / "whole.db"
        MlflowClient(tracking_uri=sqlite_uri(draft))  # the first client creates the tables
        shutil.copyfile(draft, whole)  # a file of its own: MLflow keeps the draft open
        if path.exists() and not path.stat().st_size:
            whole.replace(path)
            return
        try:
            path.hardlink_to(whole)  # fails where another process was first, unlike a rename
        except FileExistsError:
            return
        except OSError:  # a file system without hard links
            whole.replace(path)
