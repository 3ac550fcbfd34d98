"""The commands of `tapecast ledger`: they read the ledger, or copy it, and start nothing."""

import io
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import pandas as pd

from flows.cli.commands import Call
from flows.cli.ledger_rendering import show_check, show_copy, show_entries, show_entry, show_export, show_record
from flows.environment import prepare_mlflow
from pipeline.errors import ExitStatus, UsageError
from pipeline.files import write_whole
from pipeline.operation.ledger.reading import entry_at, exported, in_prices, listed, rows_of_entry
from pipeline.operation.ledger.record import record_of
from pipeline.settings import Settings
from pipeline.workflow.ledger import check_ledger, entry_json, existing_ledger
from pipeline.workflow.ledger_copy import copy_home_ledger
from pipeline.workflow.result import JsonObject, json_rows


def list_entries(call: Call, model: str, limit: int) -> int:
    """List the newest entries of a model name."""
    entries = listed(existing_ledger(Settings(), model), model, limit)
    rows = [entry_json(entry) for entry in entries]
    call.prints({"status": "ok", "model": model, "entries": rows}, lambda console: show_entries(console, rows))
    return int(ExitStatus.OK)


def show(call: Call, model: str, sequence: int | None) -> int:
    """Show one entry with its rows, in prices; the newest where none is named."""
    ledger = existing_ledger(Settings(), model)
    entry = listed(ledger, model, 1)[0] if sequence is None else entry_at(ledger, model, sequence)
    if entry is None:
        raise UsageError(f"found no issue {sequence} of {model}; `tapecast ledger list --model {model}` lists them")
    rows = in_prices(rows_of_entry(ledger, model, entry.sequence))
    values = {"status": "ok", **entry_json(entry), "forecasts": text_rows(rows)}
    call.prints(values, lambda console: show_entry(console, entry_json(entry), rows))
    return int(ExitStatus.OK)


def text_rows(rows: pd.DataFrame) -> list[JsonObject]:
    """Return rows as plain JSON values, days as text."""
    days = {name: rows[name].dt.strftime("%Y-%m-%d") for name in ("as_of", "target_session")}
    return json_rows(rows.drop(columns=["sequence", "issued_at", "calendar", "version"]).assign(**days))


def export(call: Call, model: str, path: Path, days: tuple[date | None, date | None]) -> int:
    """Write the rows between two origins into one file."""
    if path.suffix not in (".csv", ".parquet"):
        raise UsageError(f"found {path}, expected the name of a .csv or .parquet file")
    rows = exported(existing_ledger(Settings(), model), model, *days)
    write_whole(path, file_content(rows, path.suffix))
    values = {"status": "ok", "model": model, "file": str(path), "rows": len(rows)}
    call.prints(values, lambda console: show_export(console, len(rows), path))
    return int(ExitStatus.OK)


def file_content(rows: pd.DataFrame, suffix: str) -> bytes:
    """Return rows as a CSV or Parquet file."""
    if suffix == ".csv":
        return rows.to_csv(index=False).encode()
    buffer = io.BytesIO()
    rows.to_parquet(buffer, index=False)
    return buffer.getvalue()


def grades(call: Call, model: str, by: Sequence[str], since: date | None) -> int:
    """Print the record of a model name by some groups."""
    record = record_of(existing_ledger(Settings(), model), model, by, since)
    values = {"status": "ok", "model": model, "grades": json_rows(record)}
    call.prints(values, lambda console: show_record(console, model, record))
    return int(ExitStatus.OK)


def verify(call: Call, model: str) -> int:
    """Verify the chain of a model name, and print what is wrong."""
    settings = Settings()
    prepare_mlflow()
    found = check_ledger(settings, existing_ledger(settings, model), model)
    call.prints(found.as_json(), lambda console: show_check(console, found))
    return int(ExitStatus.OK if found.status == "ok" else ExitStatus.OUR_FAULT)


def copy(call: Call) -> int:
    """Copy the home's ledger into the configured database, and print what was verified and copied."""
    prepare_mlflow()
    found = copy_home_ledger(Settings())
    call.prints(found.as_json(), lambda console: show_copy(console, found))
    return int(ExitStatus.OK)
