"""Addresses of SQLite files, as SQLAlchemy reads them: percent escapes in the path are decoded, and a `?` ends it."""

from pathlib import Path
from urllib.parse import unquote

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
