"""The ledger of this installation, and the digests of its chain that were noted outside it."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from pipeline.errors import LedgerError, TrackingError, UsageError
from pipeline.operation.ledger.database import Ledger, open_ledger
from pipeline.operation.ledger.entries import Entry
from pipeline.operation.ledger.reading import model_names
from pipeline.operation.ledger.verification import Verification, verify
from pipeline.settings import Settings
from pipeline.sqlite import is_sqlite, sqlite_path
from pipeline.workflow.result import JsonObject

Heads = Mapping[int, str]


def existing_ledger(settings: Settings, model: str) -> Ledger:
    """Return the ledger, opened to read what a model name issued; raises UsageError where it issued nothing."""
    url = settings.ledger_url
    if is_sqlite(url) and not sqlite_path(url).is_file():
        raise UsageError(
            f"found no ledger at {sqlite_path(url)}, expected one; `tapecast daily` issues forecasts into it"
        )
    ledger = open_ledger(url)
    known = model_names(ledger)
    if model not in known:
        raise UsageError(
            f"found no forecast issued under {model!r} in {ledger.address}, expected --model with one of: "
            f"{', '.join(known) or 'none yet; `tapecast daily` issues forecasts'}"
        )
    return ledger


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


def check_ledger(settings: Settings, ledger: Ledger, model: str) -> LedgerCheck:
    """Verify the chain of a model name against the digests in its days' files and in MLflow.

    Where MLflow does not answer, its digests are not compared, and the result says so. Raises LedgerError where the two
    contradict each other.
    """
    noted: dict[str, Heads] = {str(settings.days / model): heads_of_days(settings.days / model)}
    not_compared = None
    try:
        noted["MLflow"] = _heads_in_mlflow(settings.mlflow_uri, model)
    except TrackingError as error:
        not_compared = str(error)
    found = verify(ledger, model, merged_heads(noted))
    return LedgerCheck(found, {name: len(heads) for name, heads in noted.items()}, not_compared)


def _heads_in_mlflow(uri: str, model: str) -> dict[int, str]:
    if is_sqlite(uri) and not sqlite_path(uri).is_file():
        return {}  # nothing was recorded yet, and asking would make the file
    from pipeline.tracking.ledger_heads import heads_in_mlflow  # noqa: PLC0415  brings mlflow

    return heads_in_mlflow(uri, model)


def heads_of_days(folder: Path) -> dict[int, str]:
    """Return sequence -> digest from the days' files of a model name.

    Each is a JSON object with the list `ledger` of objects that have sequence and digest. Raises LedgerError for a file
    that cannot be read.
    """
    return merged_heads({str(path): _heads_of_day(path) for path in sorted(folder.glob("*.json"))})


def _heads_of_day(path: Path) -> dict[int, str]:
    try:
        return {int(entry["sequence"]): str(entry["digest"]) for entry in json.loads(path.read_text())["ledger"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        expected = 'expected a JSON object with "ledger": [{"sequence": 1, "digest": "..."}]'
        raise LedgerError(f"cannot read the ledger's digests in {path}: {error!r}; {expected}") from error


def merged_heads(noted: Mapping[str, Heads]) -> dict[int, str]:
    """Return the digests of several places together; raises LedgerError where two contradict each other."""
    merged: dict[int, str] = {}
    place_of: dict[int, str] = {}
    for place, heads in noted.items():
        for sequence, digest in heads.items():
            if merged.setdefault(sequence, digest) != digest:
                raise LedgerError(
                    f"found entry {sequence} noted with the digest {digest[:12]} in {place}, expected "
                    f"{merged[sequence][:12]} as in {place_of[sequence]}: one of the two was altered"
                )
            place_of.setdefault(sequence, place)
    return merged


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
        "model": it.model,
        "version": it.version,
        "calendar": it.calendar,
        "experiment_digest": it.experiment_digest,
        "calibration_digest": it.calibration_digest,
        "code_version": it.code_version,
        "lock_digest": it.lock_digest,
        "cpu_capability": it.cpu_capability,
        "known_at": it.known_at and it.known_at.isoformat(),
        "price_basis": it.price_basis,
        "backtest": None if it.backtest is None else {**asdict(it.backtest), "date": str(it.backtest.date)},
        "run_id": it.run_id,
    }
