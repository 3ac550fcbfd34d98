"""A collection of the price store: a folder with one file per ticker, all on the same terms."""

import re
import stat
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from pydantic import BaseModel, ValidationError

from pipeline.errors import SourceError, UsageError
from pipeline.market.bars import ReturnsFrom
from pipeline.market.listings import is_ticker, refuse_bad_name, unknown_ticker
from pipeline.market.specification import COLLECTION_NAME, PriceBasis
from pipeline.market.store.history import Facts, History
from pipeline.market.store.layout import DamagedFileError, OpenedFile, decoded, opened, read_header
from pipeline.market.store.writing import one_writer, write_atomically

TERMS_FILE = "collection.json"
SUFFIX = ".parquet"
_OTHER_THAN_PLAIN = re.compile(r"[^A-Z0-9.\-=&_^]")

_DEVICE = re.compile(r"(CON|PRN|AUX|NUL|COM[1-9]|LPT[1-9])(\..*)?")
"""Names that Windows reserves for devices, whatever follows a dot."""


def file_name(ticker: str) -> str:
    """Return the name of the ticker's file; raises SourceError for a string that cannot be a ticker.

    File names are one to one on every file system and never lead outside the folder. Lower case letters are
    percent-encoded as well: AAPL and aapl must not be one file where case is ignored.
    """
    refuse_bad_name(ticker)
    encoded = _OTHER_THAN_PLAIN.sub(lambda letter: _percent(letter[0]), ticker)
    return (_percent(encoded[0]) + encoded[1:] if _DEVICE.fullmatch(encoded) else encoded) + SUFFIX


def ticker_of(name: str) -> str | None:
    """Return the ticker whose file has this name; None for the name of any other file."""
    ticker = unquote(name.removesuffix(SUFFIX))
    return ticker if is_ticker(ticker) and file_name(ticker) == name else None


def _percent(letter: str) -> str:
    return f"%{ord(letter):02X}"


class CollectionTerms(BaseModel, frozen=True, extra="forbid"):
    """What applies to every ticker of a collection: the kind of source, what it delivers, and a note for users."""

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
    """The size of a collection: bytes of all its files, and the numbers of tickers, versions and quarantined files."""

    size_bytes: int
    tickers: int
    versions: int
    quarantined: int


def open_collection(root: Path, name: str, terms: CollectionTerms) -> Collection:
    """Return the collection under `root`, created if absent; raises UsageError where it exists on other terms.

    Only the note may differ: that of `terms` is used.
    """
    if not re.fullmatch(COLLECTION_NAME, name):
        raise UsageError(f"found {name[:80]!r} as a collection, expected 1 to 32 lower case letters, digits, - and _")
    path = root / name / TERMS_FILE
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
    """Return all collections under `root`, by name; raises UsageError where one's terms cannot be read."""
    return tuple(stored_collection(path.parent) for path in sorted(root.glob(f"*/{TERMS_FILE}")))


def find_collection(root: Path, name: str) -> Collection:
    """Return the collection of that name under `root`; raises UsageError naming the existing ones."""
    existing = sorted(path.parent.name for path in root.glob(f"*/{TERMS_FILE}"))
    if name not in existing:
        raise UsageError(
            f"found no collection {name[:80]!r} in the price store {root} (existing: "
            f"{', '.join(existing) or 'none yet'}); fill one with "
            "`tapecast data update --tickers AAPL,MSFT`, or import files with --path"
        )
    return stored_collection(root / name)


def stored_collection(folder: Path) -> Collection:
    """Return the collection of a folder; raises UsageError where its terms cannot be read."""
    return Collection(folder, _read_terms(folder / TERMS_FILE))


def tickers(collection: Collection) -> tuple[str, ...]:
    """Return all tickers of which the collection has a file, sorted."""
    return tuple(sorted(ticker for name in _names(collection) if (ticker := ticker_of(name)) is not None))


def path_of(collection: Collection, ticker: str) -> Path:
    """Return the path of the ticker's file, existing or not; raises SourceError for an invalid ticker."""
    return collection.folder / file_name(ticker)


def facts(collection: Collection, ticker: str) -> Facts | None:
    """Return the facts in the ticker's footer, None where nothing is stored; raises SourceError where it is unreadable.

    The rows themselves are not read and may be damaged.
    """
    path = path_of(collection, ticker)
    try:
        return read_header(path, ticker).facts
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _no_access(path, error) from error


def read_history(collection: Collection, ticker: str) -> History:
    """Return the ticker's history, verified; raises SourceError where there is none or it is damaged."""
    content = _content(collection, ticker)
    if content is None:
        raise unknown_ticker(ticker, tickers(collection))
    return decoded(content, path_of(collection, ticker), ticker, collection.keeps_adj_close)


def find_history(collection: Collection, ticker: str) -> History | None:
    """Return the ticker's history as read_history does, and None where nothing is stored."""
    content = _content(collection, ticker)
    if content is None:
        return None
    return decoded(content, path_of(collection, ticker), ticker, collection.keeps_adj_close)


def read_opened(collection: Collection, ticker: str) -> OpenedFile:
    """Return the ticker's rows, verified, with its versions still as text; raises SourceError as read_history does."""
    content = _content(collection, ticker)
    if content is None:
        raise unknown_ticker(ticker, tickers(collection))
    return opened(content, path_of(collection, ticker), ticker, collection.keeps_adj_close)


def disk_use(collection: Collection) -> DiskUse:
    """Return the collection's size on disk; versions of files with a damaged footer are not counted."""
    stored = tickers(collection)
    names = _names(collection)
    return DiskUse(
        size_bytes=sum(_size_bytes(collection.folder / name) for name in names),
        tickers=len(stored),
        versions=sum(_versions(collection, ticker) for ticker in stored),
        quarantined=sum(f"{SUFFIX}.damaged-" in name for name in names),
    )


def _names(collection: Collection) -> list[str]:
    try:
        return [path.name for path in collection.folder.iterdir()]
    except OSError as error:
        raise UsageError(f"cannot list {collection.folder}: {error}; check the folder and its permissions") from error


def _size_bytes(path: Path) -> int:
    """Return the file's size, 0 for a folder and for a draft that has just been renamed."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return 0
    return status.st_size if stat.S_ISREG(status.st_mode) else 0


def _versions(collection: Collection, ticker: str) -> int:
    try:
        ticker_facts = facts(collection, ticker)
    except DamagedFileError:
        return 0
    return ticker_facts.versions if ticker_facts else 0


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
        reason = " ".join(str(error).split())[:300]
        raise UsageError(
            f"cannot read {path}: {reason}; expected the terms that Tapecast wrote. Restore the file, or move its "
            "folder away to start anew"
        ) from error


def _write_terms(path: Path, terms: CollectionTerms) -> None:
    """Write the terms unless another process did so in the meantime."""
    with one_writer(path):
        if not path.is_file():
            write_atomically(path, (terms.model_dump_json(indent=1) + "\n").encode())


def _spelled(terms: CollectionTerms) -> str:
    return ", ".join(f"{name} {value}" for name, value in terms.model_dump(exclude={"note"}).items())
