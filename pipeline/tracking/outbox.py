"""The outbox: what a run records is on disk first, and stays there until MLflow has it; free of mlflow.

A folder per record: `record.json` says what it is and where it goes, `calls.jsonl` has the calls in their order,
`files/N` what they upload, `delivered.json` how far the delivery is. Who holds the lock of a folder writes to it; the
lock of a killed process is free, so its record is found and finished by a later run.
"""

import json
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from pipeline.files import draft_folder, write_through

HEADER, CALLS, DELIVERED, FILES, LOCK = "record.json", "calls.jsonl", "delivered.json", "files", "lock"
TEMPORARY = "tapecast-outbox-"
RESUME_HOURS = 12
"""How long after a kill the same command continues the run; later it is another day's run."""

Call = dict[str, Any]


@dataclass(frozen=True)
class Header:
    """What a record is: its id, the job that it belongs to, and the store (no password) and experiment it goes to."""

    id: str
    job: str
    address: str
    experiment: str
    began: float = field(default_factory=time.time)  # seconds since 1970

    @classmethod
    def new(cls, job: str, address: str, experiment: str, record_id: str | None = None) -> "Header":
        """Return the header of a record that begins now."""
        return cls(record_id or uuid.uuid4().hex, job, address, experiment)


@dataclass(frozen=True)
class Delivered:
    """How far a record is delivered: calls made, MLflow's id of each run, and what it refused.

    `skipped` are the runs that were complete before: calls to them are not made again.
    """

    calls: int = 0
    runs: Mapping[str, str] = field(default_factory=dict)
    skipped: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()


class Journal:
    """The calls of one record, in a folder that this process holds the lock of.

    The calls are kept in memory too: a disk that is full loses what a later run would deliver, and nothing of this one.
    """

    def __init__(self, folder: Path, header: Header, lock: FileLock, kept: bool = True) -> None:
        self.folder, self.header, self.kept = folder, header, kept
        self.missing = ""  # why files of it are
        self._lock = lock
        self._calls = list(_read_calls(folder / CALLS))
        self.delivered = _read_delivered(folder / DELIVERED)

    @property
    def pending(self) -> list[Call]:
        """The calls that are not delivered, in their order."""
        return self._calls[self.delivered.calls :]

    @property
    def ended(self) -> bool:
        """Whether the run has ended, by itself or as one of a killed process."""
        last = self._calls[-1] if self._calls else {}
        return last.get("call") == "end" and not last["run"]

    @property
    def open_runs(self) -> list[str]:
        """The runs that were started and not ended, the later ones first."""
        started = {call["run"]: None for call in self._calls if call["call"] == "start"}
        ended = {call["run"] for call in self._calls if call["call"] == "end"}
        return [name for name in reversed(started) if name not in ended]

    @property
    def resumable(self) -> bool:
        """Whether the run was cut off, a short time ago: the same job continues it."""
        stranded = not self.ended or bool(self._calls[-1].get("stranded"))
        return stranded and time.time() - self.header.began < RESUME_HOURS * 3600

    def append(self, call: Call) -> None:
        """Add a call, on disk as long as that can be written."""
        self._calls.append(call)
        if not self.kept:
            return
        try:
            with (self.folder / CALLS).open("ab") as file:
                file.write(json.dumps(call).encode() + b"\n")
        except OSError:
            self.kept = False

    def save(self, delivered: Delivered) -> None:
        """Note how far the delivery is."""
        self.delivered = delivered
        draft = self.folder / f"{DELIVERED}.new"
        try:
            draft.write_text(json.dumps(asdict(delivered)))
            draft.replace(self.folder / DELIVERED)
        except OSError:
            self.kept = False

    @contextmanager
    def files(self, run: str) -> Iterator[Path]:
        """Return a context with a new folder whose content is uploaded to a run; what cannot be written is left out."""
        number = sum(call["call"] == "files" for call in self._calls)
        folder = self.folder / FILES / str(number)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            yield folder
        except OSError as error:
            self.missing = str(error)
            shutil.rmtree(folder, ignore_errors=True)
            return
        self.append({"call": "files", "run": run, "folder": str(number)})

    def restart(self) -> None:
        """Forget the calls of the process that was killed, save the first: the same job makes them again."""
        first = self._calls[:1]
        self._calls = []
        shutil.rmtree(self.folder / FILES, ignore_errors=True)
        with suppress(OSError):
            (self.folder / CALLS).unlink(missing_ok=True)
        for call in first:
            self.append(call)
        self.save(Delivered(min(self.delivered.calls, 1), self.delivered.runs))

    def remove(self) -> None:
        """Remove the record, and the temporary folder where it is in one."""
        with suppress(OSError):  # without its header a record is none, whatever is left when the process is killed here
            (self.folder / HEADER).unlink()
        shutil.rmtree(self.folder, ignore_errors=True)
        if self.folder.parent.name.startswith(TEMPORARY):
            shutil.rmtree(self.folder.parent, ignore_errors=True)
        self.release()

    def release(self) -> None:
        """Leave the record to others."""
        self._lock.release()


def open_journal(outbox: Path, header: Header) -> Journal:
    """Return the journal of a record: that of a killed process of the same job, or a new one.

    Where the outbox cannot be written, it is a temporary folder, and its record is not kept.
    """
    try:
        former = next(_resumable(outbox, header), None)
        if former:
            former.restart()
            return former
        return _new_journal(outbox, header, kept=True)
    except OSError:
        return _new_journal(Path(tempfile.mkdtemp(prefix=TEMPORARY)), header, kept=False)


def _resumable(outbox: Path, header: Header) -> Iterator[Journal]:
    for journal in left_journals(outbox, header.address, header.experiment):
        if journal.header.job == header.job and journal.resumable:
            yield journal
            return
        journal.release()


def _new_journal(outbox: Path, header: Header, kept: bool) -> Journal:
    with draft_folder(outbox) as draft:
        lock = _locked(draft)
        if lock is None:
            raise OSError(f"cannot lock {draft}")
        write_through(draft / HEADER, json.dumps(asdict(header)).encode())
        last = max((int(path.name.partition("-")[0]) for path in _folders(outbox)), default=0)
        folder = outbox / f"{last + 1:06d}-{header.id[:12]}"
        draft.rename(folder)
    return Journal(folder, header, lock, kept)


def left_journals(outbox: Path, address: str, experiment: str) -> Iterator[Journal]:
    """Yield the records to one store that no living process holds, the oldest first; the caller releases each."""
    for folder in _folders(outbox):
        lock = _locked(folder)
        if lock is None:
            continue
        if not (folder / HEADER).exists():  # a process was killed while it removed this
            shutil.rmtree(folder, ignore_errors=True)
        header = _read_header(folder / HEADER)
        if header and (header.address, header.experiment) == (address, experiment):
            yield Journal(folder, header, lock)
        else:
            lock.release()


def records_without_header(outbox: Path) -> list[Path]:
    """Return what is left of delivered records whose process was killed while it removed them.

    A record appears whole, and its header goes first: a record with one is not delivered, or not to the end.
    """
    return [folder for folder in _folders(outbox) if not (folder / HEADER).exists()]


def _folders(outbox: Path) -> list[Path]:
    found = outbox.glob("[0-9]*-*") if outbox.is_dir() else ()
    return sorted(found, key=lambda path: int(path.name.partition("-")[0]))


def _locked(folder: Path) -> FileLock | None:
    """Return the held lock of a folder; None where another process has it, or it cannot be written."""
    lock = FileLock(folder / LOCK, thread_local=False)
    try:
        lock.acquire(timeout=0)
    except (Timeout, OSError):
        return None
    return lock


def _read_header(path: Path) -> Header | None:
    """Return the header; None where the record was removed meanwhile, or is none."""
    try:
        return Header(**json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


def _read_calls(path: Path) -> Iterator[Call]:
    """Yield the calls; a last line that a killed process left half written is removed."""
    if not path.exists():
        return
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if len(whole) < len(content):
        path.write_bytes(whole)
    for line in whole.splitlines():
        try:
            yield json.loads(line)
        except ValueError:  # a disk without space cut it; nothing was written after it
            return


def _read_delivered(path: Path) -> Delivered:
    """Return how far a record is delivered: not at all where that cannot be read, since a call made twice is one."""
    try:
        found = json.loads(path.read_bytes())
        return Delivered(found["calls"], found["runs"], tuple(found["skipped"]), tuple(found["refused"]))
    except (OSError, ValueError, KeyError, TypeError):
        return Delivered()
