"""SQLite files: their addresses as SQLAlchemy reads them (percent escapes are decoded, a `?` ends it), free pages."""

import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import quote, unquote

PREFIX = "sqlite:///"


def is_sqlite(uri: str) -> bool:
    """Return whether the address is a SQLite file's."""
    return uri.startswith(PREFIX)


def sqlite_uri(path: Path) -> str:
    """Return the address of a file."""
    return PREFIX + str(path).replace("%", "%25").replace("?", "%3F")


def sqlite_path(uri: str) -> Path:
    """Return the file of an address; `Path()` where it names none."""
    return Path(unquote(uri.removeprefix(PREFIX).partition("?")[0]))


def free_bytes(path: Path) -> int:
    """Return the size of a file's free pages: later rows fill them, and `compact` gives them back."""
    with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)) as database:
        (size_bytes,) = database.execute(_FREE).fetchone()
    return int(size_bytes)


_FREE = "SELECT freelist_count * page_size FROM pragma_freelist_count, pragma_page_size"


def compact(path: Path) -> int | None:
    """Return by how many bytes a file became smaller after its free pages were given back.

    None, and the file is as it was, where another process has it open, or the disk has no space for a second copy. In
    exclusive locking mode SQLite itself refuses a file with write-ahead log that any other connection has open, and one
    without where another one reads or writes at this moment (https://www.sqlite.org/pragma.html#pragma_locking_mode).
    """
    before = path.stat().st_size
    try:
        with closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as database:
            database.execute("PRAGMA locking_mode = EXCLUSIVE").fetchone()
            database.execute("VACUUM")
    except sqlite3.OperationalError:
        return None
    return max(0, before - path.stat().st_size)
