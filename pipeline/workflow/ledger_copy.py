"""The move of a ledger: that of the home, a SQLite file, is copied into the database that is configured."""

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.errors import LedgerError, UsageError
from pipeline.operation.ledger.copying import copy_ledger
from pipeline.operation.ledger.database import Ledger, open_ledger
from pipeline.operation.ledger.reading import model_names
from pipeline.settings import Settings
from pipeline.sqlite import sqlite_path
from pipeline.workflow.ledger import LedgerCheck, check_ledger, heads_of_former_ledger, refuse_lost_entries
from pipeline.workflow.result import JsonObject


@dataclass(frozen=True)
class LedgerCopy:
    """What was copied: the file, the database's address, rows by table, and the verification of each model name.

    `rows` and `checks` are empty where the database had every entry already and nothing was copied.
    """

    source: str
    target: str
    rows: Mapping[str, int]
    checks: tuple[LedgerCheck, ...]

    def as_json(self) -> JsonObject:
        """Return the object that --json prints."""
        values = {"source": self.source, "target": self.target, "copied": bool(self.rows), "rows": dict(self.rows)}
        return {"status": "ok", **values, "models": [check.as_json() for check in self.checks]}


def copy_home_ledger(settings: Settings) -> LedgerCopy:
    """Copy the SQLite ledger of the home into the empty database of TAPECAST_LEDGER, after verifying its chains.

    The file stays as it is. Where the database has its entries already nothing is copied, so that a second call does no
    harm. Raises UsageError where there is nothing to copy, LedgerError where a chain is not as it was written, the
    database has other entries, or one of the two cannot be read or written; nothing is copied then.
    """
    source, path = _home_ledger(settings), str(sqlite_path(settings.home_ledger_url))
    target, models = open_ledger(settings.ledger_url), model_names(source)
    if not models:
        raise UsageError(f"found no issued forecast in {path}, so that there is nothing to copy")
    if model_names(target):
        for model in models:
            refuse_lost_entries(target, model, {path: heads_of_former_ledger(settings, model)})
        return LedgerCopy(path, target.address, {}, ())
    checks = tuple(_verified(settings, source, model) for model in models)
    return LedgerCopy(path, target.address, copy_ledger(source, target), checks)


def _home_ledger(settings: Settings) -> Ledger:
    path = sqlite_path(url := settings.home_ledger_url)
    if settings.ledger_url == url:
        raise UsageError(f"found {path} as the ledger, expected TAPECAST_LEDGER to name the database to copy it into")
    if not path.is_file():
        raise UsageError(f"found no ledger at {path}, so that there is nothing to copy")
    return open_ledger(url)


def _verified(settings: Settings, ledger: Ledger, model: str) -> LedgerCheck:
    """Return the verification of a chain; raises LedgerError where it is not as it was written."""
    found = check_ledger(settings, ledger, model)
    if fault := found.verification.fault:
        raise LedgerError(
            f"cannot copy the ledger {ledger.address}: {model} is not as written, entry {fault.sequence}: "
            f"{fault.sentence}; expected a ledger that verifies: restore it from a backup. Nothing was copied"
        )
    return found
