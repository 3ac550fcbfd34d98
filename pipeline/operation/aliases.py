"""Aliases of model versions: the champion, which forecasts, and the one before it; and the lock of a model's name."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock, Timeout
from pydantic import TypeAdapter

from pipeline.errors import FitError, UsageError
from pipeline.files import write_whole
from pipeline.operation.sealed_json import opened, sealed

ALIASES, LOCK = "aliases.json", ".lock"
LOCK_WAIT_SECONDS = 60.0


@dataclass(frozen=True)
class Aliases:
    """The numbers of the version that forecasts and of the one that did so before; None where there is none."""

    champion: int | None = None
    previous: int | None = None

    @property
    def numbers(self) -> tuple[int, ...]:
        """The versions that have an alias."""
        return tuple(number for number in (self.champion, self.previous) if number is not None)

    def of(self, number: int) -> tuple[str, ...]:
        """Return the aliases of a version."""
        return tuple(alias for alias, aliased in asdict(self).items() if aliased == number)

    def promoted(self, number: int) -> "Aliases":
        """Return the aliases after a version became the champion; unchanged where it is already.

        The champion before becomes `previous`; where there was none, `previous` stays.
        """
        return self if number == self.champion else Aliases(number, self.champion or self.previous)


_ALIASES: TypeAdapter[Aliases] = TypeAdapter(Aliases)


def read_aliases(folder: Path) -> Aliases:
    """Return the aliases in a model's folder, none where no file is; raises FitError for a damaged file."""
    path = folder / ALIASES
    try:
        return _ALIASES.validate_python(opened(path.read_bytes()))
    except FileNotFoundError:
        return Aliases()
    except (OSError, ValueError) as error:
        raise FitError(
            f"cannot read the aliases of model {folder.name} in {path}: {error}; say which version forecasts with "
            f"`tapecast model promote VERSION --model {folder.name}`"
        ) from error


def write_aliases(folder: Path, aliases: Aliases) -> None:
    """Write the aliases of a model, the file as a whole; raises UsageError where that cannot be done."""
    write_whole(folder / ALIASES, sealed(asdict(aliases)))


@contextmanager
def one_publisher(folder: Path, wait_seconds: float = LOCK_WAIT_SECONDS) -> Iterator[None]:
    """Return a context in which no other process or thread changes a model's versions or aliases.

    Raises UsageError where another one does so for longer than `wait_seconds`, and where the folder cannot be written.
    """
    with one_at_a_time(folder, f"changing the versions of model {folder.name}", wait_seconds):
        yield


def one_daily_run(folder: Path, wait_seconds: float) -> AbstractContextManager[None]:
    """Return a context in which no other process makes a daily run of a model; raises as one_publisher does."""
    return one_at_a_time(folder / "daily", f"making a daily run of model {folder.name}", wait_seconds)


@contextmanager
def one_at_a_time(folder: Path, doing: str, wait_seconds: float) -> Iterator[None]:
    """Return a context in which no other process or thread has the lock of a folder; raises as one_publisher does.

    `doing` says what another one has been doing then.
    """
    lock = FileLock(folder / LOCK)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=wait_seconds)
    except Timeout as error:
        raise UsageError(
            f"another process has been {doing} for {wait_seconds:g} s (it holds the lock {lock.lock_file}); wait until "
            "it ends, or end it, and try again"
        ) from error
    except (OSError, NotImplementedError) as error:
        raise UsageError(f"cannot lock {lock.lock_file}: {error}; expected a folder that you may write in") from error
    try:
        yield
    finally:
        lock.release()
