"""The ledger of this installation, and the digests of its chain that were noted outside it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import LedgerError, TrackingError, UsageError
from pipeline.operation.ledger.database import Ledger, open_ledger
from pipeline.operation.ledger.entries import Entry
from pipeline.operation.ledger.reading import entry_at, listed, model_names
from pipeline.operation.ledger.verification import Fault, Verification, verify
from pipeline.settings import Settings
from pipeline.sqlite import is_sqlite, sqlite_path
from pipeline.wording import count_of
from pipeline.workflow.result import JsonObject

if TYPE_CHECKING:
    from pipeline.tracking.ledger_heads import NotedHead

Heads = Mapping[int, str]

MLFLOW_SECONDS = 15.0
"""How long a verification waits in all for the digests that MLflow has."""
DAYS_ALONE = "MLflow was not asked to the end: the ledger was verified against the days' files alone."


def existing_ledger(settings: Settings, model: str) -> Ledger:
    """Return the ledger, opened to read what a model name issued; raises UsageError where it issued nothing.

    Raises LedgerError where the ledger has nothing of a model name though entries of it are noted in this home.
    """
    url, noted = settings.ledger_url, last_heads(settings, model)
    if is_sqlite(url) and not (path := sqlite_path(url)).is_file():
        if noted:
            raise _lost(f"no ledger at {path}", model, noted)
        raise UsageError(f"found no ledger at {path}, expected one; `tapecast daily` issues forecasts into it")
    ledger = open_ledger(url)
    known = model_names(ledger)
    if model in known:
        return ledger
    refuse_lost_entries(ledger, model, noted)
    raise UsageError(
        f"found no forecast issued under {model!r} in {ledger.address}, expected --model with one of: "
        f"{', '.join(known) or 'none yet; `tapecast daily` issues forecasts'}"
    )


def ledger_to_issue_into(settings: Settings, model: str) -> Ledger:
    """Return the ledger, opened to issue under a model name.

    Raises LedgerError where it cannot be opened, or lacks an entry that is noted in this home: a chain begun anew would
    leave behind what was issued.
    """
    ledger = open_ledger(settings.ledger_url)
    refuse_lost_entries(ledger, model, last_heads(settings, model))
    return ledger


def refuse_lost_entries(ledger: Ledger, model: str, noted: Mapping[str, Heads]) -> None:
    """Raise LedgerError where a ledger does not have an entry that is noted elsewhere, with its digest."""
    for place, heads in noted.items():
        for sequence, digest in heads.items():
            entry = entry_at(ledger, model, sequence)
            if entry is None or entry.digest != digest:
                found = f"no entry {sequence}" if entry is None else f"entry {sequence} with another digest"
                raise _lost(f"{found} of {model} in the ledger {ledger.address}", model, {place: heads})


def _lost(found: str, model: str, noted: Mapping[str, Heads]) -> LedgerError:
    place, heads = next(iter(noted.items()))
    sequence, digest = max(heads.items())
    return LedgerError(
        f"found {found}, expected entry {sequence} of {model} with the digest {digest[:12]} as noted in {place}: its "
        "entries were lost, or this is another ledger, and nothing is issued into it. Restore its database from a "
        "backup, or name the ledger that has them in TAPECAST_LEDGER; `tapecast ledger copy` copies the SQLite ledger "
        "of this home into an empty database. Where they are lost for good, move that file out of this home"
    )


def last_heads(settings: Settings, model: str) -> dict[str, Heads]:
    """Return place -> the newest entry noted there (sequence -> digest), of the places in this home that have one.

    They are the newest day's file of each calendar and the former ledger; as each digest covers the entry before, they
    stand for all. A file that cannot be read is passed over for the one before: a later run writes it again.
    """
    folder, found = settings.days / model, {}
    for path in sorted(folder.glob("*.json"), reverse=True):  # DAY-CALENDAR.json
        calendar = path.name[len("2024-01-02") :]
        if calendar not in found and (heads := _readable_heads(path)):
            found[calendar] = (str(path), dict([max(heads.items())]))
    former = heads_of_former_ledger(settings, model)
    return {**dict(found.values()), **({str(sqlite_path(settings.home_ledger_url)): former} if former else {})}


def _readable_heads(path: Path) -> Heads:
    try:
        return _heads_of_day(path)
    except LedgerError:
        return {}


def heads_of_former_ledger(settings: Settings, model: str) -> Heads:
    """Return the last entry (sequence -> digest) of the SQLite ledger under home where another ledger is configured.

    Raises LedgerError where that file cannot be read.
    """
    url = settings.home_ledger_url
    if settings.ledger_url == url or not sqlite_path(url).is_file():
        return {}
    return {entry.sequence: entry.digest for entry in listed(open_ledger(url), model, 1)}


@dataclass(frozen=True)
class LedgerCheck:
    """A verification, how many digests noted elsewhere it was compared with, and what could not be compared."""

    verification: Verification
    noted: Mapping[str, int]
    not_compared: str | None

    @property
    def status(self) -> str:
        """Return "ok", or "failed" where the chain is not as it was written."""
        return "ok" if self.verification.fault is None else "failed"

    def as_json(self) -> JsonObject:
        """Return the object that --json prints."""
        it = self.verification
        fault = it.fault and {"sequence": it.fault.sequence, "sentence": it.fault.sentence}
        values = {"model": it.model, "entries": it.entries, "rows": it.rows, "head": it.head, "fault": fault}
        return {"status": self.status, **values, "noted": dict(self.noted), "not_compared": self.not_compared}


def check_ledger(settings: Settings, ledger: Ledger, model: str, mlflow_seconds: float = MLFLOW_SECONDS) -> LedgerCheck:
    """Verify the chain of a model name against the digests in its days' files, in MLflow, and in a former ledger.

    Where two places contradict each other, that is the fault, unless the chain has an earlier one. Where MLflow has not
    answered all within some seconds, its digests are not compared, and the result says so; nor are those of another
    ledger that issued under the same name. Grades, and what waits for one, have no digest: nothing is said of them.
    Raises LedgerError for a day's file that cannot be read.
    """
    noted: dict[str, dict[str, Heads]] = {str(settings.days / model): heads_of_days(settings.days / model)}
    if former := heads_of_former_ledger(settings, model):
        path = str(sqlite_path(settings.home_ledger_url))
        noted[path] = {path: former}
    not_compared = fault = None
    try:
        heads = _heads_in_mlflow(settings.mlflow_uri, model, mlflow_seconds)
        noted["MLflow"], not_compared, fault = _of_this_chain(heads, entry_at(ledger, model, 1))
    except TrackingError as error:
        not_compared = f"{str(error).rstrip('.')}. {DAYS_ALONE}"
    places = dict(pair for heads_by in noted.values() for pair in heads_by.items())
    merged, contradiction = merged_heads(places)
    found = verify(ledger, model, merged)
    faults = [it for it in (contradiction, found.fault and _with_place(found.fault, places), fault) if it]
    found = replace(found, fault=min(faults, key=lambda it: it.sequence, default=None))
    return LedgerCheck(found, {name: len(merged_heads(by)[0]) for name, by in noted.items()}, not_compared)


def _with_place(fault: Fault, noted: Mapping[str, Heads]) -> Fault:
    """Return a fault with the first place where the digest of its entry is noted."""
    place = next((place for place, heads in noted.items() if fault.sequence in heads), None)
    return replace(fault, sentence=f"{fault.sentence} (entry {fault.sequence} is noted in {place})") if place else fault


def _heads_in_mlflow(uri: str, model: str, seconds: float) -> "list[NotedHead]":
    if is_sqlite(uri) and not sqlite_path(uri).is_file():
        return []  # nothing was recorded yet, and asking would make the file
    from pipeline.tracking.background import answered_within  # noqa: PLC0415  brings mlflow
    from pipeline.tracking.ledger_heads import heads_in_mlflow  # noqa: PLC0415

    return answered_within(seconds, uri, lambda: heads_in_mlflow(uri, model))


def _of_this_chain(
    heads: "Sequence[NotedHead]", first: Entry | None
) -> tuple[dict[str, Heads], str | None, Fault | None]:
    """Return the heads of the chain with this first entry by run, and a sentence or a fault where there are others.

    Several homes may share an MLflow server. But one that has heads of other chains alone may be the witness that this
    one was written anew from its first entry on.
    """
    own = [it for it in heads if not it.chain or (first and it.chain == first.digest)]
    by_run: dict[str, Heads] = {f"MLflow's run {it.run_id}": {it.sequence: it.digest} for it in own}
    if len(own) == len(heads):
        return by_run, None, None
    others = f"MLflow has {count_of(len(heads) - len(own), 'run')} of another ledger under this name"
    if own:
        return by_run, f"{others}; their digests were not compared.", None
    sentence = f"{others} and none of this one, expected some of this one: it was written anew, or not recorded yet"
    return by_run, None, Fault(1, f"found that {sentence}")


def heads_of_days(folder: Path) -> dict[str, Heads]:
    """Return path -> heads (sequence -> digest) of the days' files of a model name.

    Each is a JSON object with the list `ledger` of objects that have sequence and digest. Raises LedgerError for a file
    that cannot be read.
    """
    return {str(path): _heads_of_day(path) for path in sorted(folder.glob("*.json"))}


def _heads_of_day(path: Path) -> dict[int, str]:
    try:
        return {int(entry["sequence"]): str(entry["digest"]) for entry in json.loads(path.read_text())["ledger"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        expected = 'expected a JSON object with "ledger": [{"sequence": 1, "digest": "..."}]'
        raise LedgerError(f"cannot read the ledger's digests in {path}: {error!r}; {expected}") from error


def merged_heads(noted: Mapping[str, Heads]) -> tuple[dict[int, str], Fault | None]:
    """Return the digests of several places together, and the first entry of which two contradict each other.

    Of that the digest of the place named first counts.
    """
    merged: dict[int, str] = {}
    place_of: dict[int, str] = {}
    contradictions = []
    for place, heads in noted.items():
        for sequence, digest in heads.items():
            if merged.setdefault(sequence, digest) != digest:
                sentence = (
                    f"found entry {sequence} noted with the digest {digest[:12]} in {place}, expected "
                    f"{merged[sequence][:12]} as in {place_of[sequence]}: the chain was written anew, the ledger went "
                    "on from a backup, or one of the two was altered"
                )
                contradictions.append(Fault(sequence, sentence))
            place_of.setdefault(sequence, place)
    return merged, min(contradictions, key=lambda it: it.sequence, default=None)


def entry_json(entry: Entry) -> JsonObject:
    """Return an entry as plain JSON values."""
    it = entry.provenance
    return {
        "sequence": entry.sequence,
        "digest": entry.digest,
        "issued_at": entry.issued_at.isoformat(),
        "rows": entry.row_count,
        "first_origin": str(entry.first_origin),
        "last_origin": str(entry.last_origin),
        **asdict(it),
        "known_at": it.known_at and it.known_at.isoformat(),
        "backtest": None if it.backtest is None else {**asdict(it.backtest), "date": str(it.backtest.date)},
    }
