"""A collection of the store: a folder with one file per ticker, all on the same terms."""

import re
import stat
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ValidationError

from pipeline.errors import SourceError, UsageError
from pipeline.market.bars import ReturnsFrom
from pipeline.market.specification import COLLECTION_NAME, PriceBasis
from pipeline.market.store.history import Facts, History
from pipeline.market.store.layout import DamagedFileError, Opened, decoded, opened, read_head
from pipeline.market.store.names import SUFFIX, file_name, ticker_of
from pipeline.market.store.writing import one_writer, write_atomically
from pipeline.market.tickers import unknown_ticker

TERMS = "collection.json"


class CollectionTerms(BaseModel, frozen=True, extra="forbid"):
    """What holds for every ticker of a collection: kind of source, what is delivered, and a sentence for people."""

    kind: str
    has_actions: bool
    returns_from: ReturnsFrom
    note: str
    price_basis: PriceBasis = "as_traded"


@dataclass(frozen=True)
class Collection:
    """An opened collection: its folder and its terms."""

    folder: Path
    terms: CollectionTerms

    @property
    def name(self) -> str:
        """The name of the collection, which is its folder's."""
        return self.folder.name

    @property
    def keeps_adj_close(self) -> bool:
        """Whether adj_close is stored: only where returns come from it, as each dividend changes all of it."""
        return self.terms.returns_from == "adj_close"


@dataclass(frozen=True)
class DiskUse:
    """What a collection takes: bytes of all its files, how many tickers and versions, and files set aside."""

    size_bytes: int
    tickers: int
    versions: int
    set_aside: int


def open_collection(root: Path, name: str, terms: CollectionTerms) -> Collection:
    """The collection under `root`, made if it is not there; raises UsageError where it exists on other terms.

    The note alone may differ: the one given is used.
    """
    if not re.fullmatch(COLLECTION_NAME, name):
        raise UsageError(f"found {name[:80]!r} as a collection, expected 1 to 32 lower case letters, digits, - and _")
    path = root / name / TERMS
    if not path.is_file():
        _write_terms(path, terms)
    stored = _read_terms(path)
    if stored.model_copy(update={"note": terms.note}) != terms:
        raise UsageError(
            f"{path.parent} holds prices on other terms: found {_spelled(stored)}, expected {_spelled(terms)}; choose "
            "another collection, or move that folder away"
        )
    return Collection(path.parent, terms)


def collections(root: Path) -> tuple[Collection, ...]:
    """All collections under `root`, by name; raises UsageError where one's terms cannot be read."""
    return tuple(stored_collection(path.parent) for path in sorted(root.glob(f"*/{TERMS}")))


def stored_collection(folder: Path) -> Collection:
    """The collection of a folder; raises UsageError where its terms cannot be read."""
    return Collection(folder, _read_terms(folder / TERMS))


def tickers(collection: Collection) -> tuple[str, ...]:
    """All tickers that the collection has a file of, sorted."""
    return tuple(sorted(ticker for name in _names(collection) if (ticker := ticker_of(name)) is not None))


def path_of(collection: Collection, ticker: str) -> Path:
    """The ticker's file, there or not; raises SourceError for a string that cannot be a ticker."""
    return collection.folder / file_name(ticker)


def facts(collection: Collection, ticker: str) -> Facts | None:
    """What the ticker's footer says, None where nothing is stored; raises SourceError where it cannot be read.

    The rows themselves are not read and may be damaged all the same.
    """
    path = path_of(collection, ticker)
    try:
        return read_head(path, ticker).facts
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _no_access(path, error) from error


def read_history(collection: Collection, ticker: str) -> History:
    """All that is stored of the ticker, verified whole; raises SourceError where there is nothing or it is damaged."""
    content = _content(collection, ticker)
    if content is None:
        raise unknown_ticker(ticker, tickers(collection))
    return decoded(content, path_of(collection, ticker), ticker, collection.keeps_adj_close)


def find_history(collection: Collection, ticker: str) -> History | None:
    """As read_history, and None where nothing is stored."""
    content = _content(collection, ticker)
    if content is None:
        return None
    return decoded(content, path_of(collection, ticker), ticker, collection.keeps_adj_close)


def read_opened(collection: Collection, ticker: str) -> Opened:
    """The ticker's rows, verified whole, with its versions still as text; raises SourceError as read_history."""
    content = _content(collection, ticker)
    if content is None:
        raise unknown_ticker(ticker, tickers(collection))
    return opened(content, path_of(collection, ticker), ticker, collection.keeps_adj_close)


def disk_use(collection: Collection) -> DiskUse:
    """What the collection takes on disk; versions of files whose footers are damaged are not counted."""
    held = tickers(collection)
    names = _names(collection)
    return DiskUse(
        size_bytes=sum(_size_bytes(collection.folder / name) for name in names),
        tickers=len(held),
        versions=sum(_versions(collection, ticker) for ticker in held),
        set_aside=sum(f"{SUFFIX}.damaged-" in name for name in names),
    )


def _names(collection: Collection) -> list[str]:
    try:
        return [path.name for path in collection.folder.iterdir()]
    except OSError as error:
        raise UsageError(f"cannot list {collection.folder}: {error}; check the folder and its permissions") from error


def _size_bytes(path: Path) -> int:
    """The file's size, 0 for a folder and for a draft that has just been renamed."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return 0
    return found.st_size if stat.S_ISREG(found.st_mode) else 0


def _versions(collection: Collection, ticker: str) -> int:
    try:
        found = facts(collection, ticker)
    except DamagedFileError:
        return 0
    return found.versions if found else 0


def _content(collection: Collection, ticker: str) -> bytes | None:
    path = path_of(collection, ticker)
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _no_access(path, error) from error


def _no_access(path: Path, error: OSError) -> SourceError:
    return SourceError(f"cannot read {path}: {error}; check the file and its permissions")


def _read_terms(path: Path) -> CollectionTerms:
    try:
        return CollectionTerms.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        found = " ".join(str(error).split())[:300]
        raise UsageError(
            f"cannot read {path}: {found}; expected the terms that Tapecast wrote. Restore the file, or move its "
            "folder away to start anew"
        ) from error


def _write_terms(path: Path, terms: CollectionTerms) -> None:
    """Write the terms unless another process did so in the meantime."""
    with one_writer(path):
        if not path.is_file():
            write_atomically(path, (terms.model_dump_json(indent=1) + "\n").encode())


def _spelled(terms: CollectionTerms) -> str:
    return ", ".join(f"{name} {value}" for name, value in terms.model_dump(exclude={"note"}).items())
