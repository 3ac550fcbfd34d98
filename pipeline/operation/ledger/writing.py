"""Issuing: the rows of an issue become one entry of the chain, in one transaction; what was issued stands."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sqlalchemy import Connection, func, select

from pipeline.errors import LedgerConflictError, LedgerError
from pipeline.market.calendars import closing_instants
from pipeline.operation.ledger.chain import FIRST, day_number, day_numbers, day_of, digest_of, microseconds
from pipeline.operation.ledger.coding import ROW_COLUMNS, at_keys, coded, insert_rows, made_name_ids
from pipeline.operation.ledger.database import Ledger
from pipeline.operation.ledger.issues import LATE, SAME_IN_THE_LEDGER, VALUES, Issue, Provenance, described
from pipeline.operation.ledger.schema import KEY_IDS, entries, forecasts, waiting


@dataclass(frozen=True)
class Appended:
    """What an issue came to: the entry of the chain, its digest (hexadecimal), rows added, rows that existed already.

    Where no row is new the entry is the one that has them; of several the last.
    """

    sequence: int
    digest: str
    added: int
    existing: int


def append(ledger: Ledger, issue: Issue) -> Appended:
    """Write the rows of an issue that the ledger does not have, as one entry of the chain of its model name.

    A row that exists with the same values is left as it is, whatever its status: the first issue stands. Raises
    LedgerConflictError where one exists with another value, LedgerError for a row that is not late though its target
    session had closed; nothing is written then.
    """
    model = issue.provenance.model
    _refuse_closed(issue)
    with ledger.writing(model) as connection:
        named = [model, *issue.rows["ticker"].unique(), *issue.rows["forecaster"].unique()]
        ids = made_name_ids(connection, named)
        wanted = coded(issue.rows, ids)
        query = select(*(forecasts.c[name] for name in ROW_COLUMNS))
        existing = at_keys(connection, ids[model], wanted[list(KEY_IDS)], query)
        _refuse_conflict(issue, wanted.merge(existing, on=list(KEY_IDS), how="left", suffixes=("", "_issued")))
        new = ~pd.MultiIndex.from_frame(wanted[list(KEY_IDS)]).isin(pd.MultiIndex.from_frame(existing[list(KEY_IDS)]))
        if not new.any():
            sequence = int(existing["sequence"].max())
            return Appended(sequence, _digest(connection, ids[model], sequence).hex(), 0, len(existing))
        sequence, digest = _add_entry(connection, ids[model], Issue(issue.provenance, issue.issued_at, issue.rows[new]))
        _add_rows(connection, wanted[new].assign(model_id=ids[model], sequence=sequence))
        return Appended(sequence, digest.hex(), int(new.sum()), len(existing))


def _refuse_closed(issue: Issue) -> None:
    """Raise LedgerError for a row that is not late though its target session had closed when it was issued."""
    rows, calendar = issue.rows, issue.provenance.calendar
    days = rows["target_session"].to_numpy("datetime64[D]")
    closes = closing_instants(calendar, days)  # [row, datetime64 s]
    unknown = np.isnat(closes)
    if unknown.any():
        raise LedgerError(
            f"cannot issue {described(rows[unknown].iloc[0])}: found the target session {days[unknown][0]}, expected a "
            f"session of {calendar}"
        )
    issued = np.datetime64(microseconds(issue.issued_at), "us")
    closed = (closes <= issued) & (rows["status"] != LATE).to_numpy()
    if closed.any():
        raise LedgerError(
            f"cannot issue {described(rows[closed].iloc[0])}: its target session had closed at "
            f"{closes[closed][0]} UTC, before {issue.issued_at:%Y-%m-%dT%H:%M:%S} UTC; expected a target that is still "
            f'open, or the status "{LATE}"'
        )


def _refuse_conflict(issue: Issue, joined: pd.DataFrame) -> None:
    """Raise LedgerConflictError naming the first row that was issued with another value, and both values."""
    exists = joined["sequence"].notna().to_numpy()
    differs = {name: exists & (joined[name] != joined[f"{name}_issued"]).to_numpy() for name in VALUES}
    first = np.flatnonzero(np.any(list(differs.values()), axis=0))[:1]
    for place in first:
        name = next(name for name, where in differs.items() if where[place])
        found, issued = (_shown(name, joined[column].iloc[place]) for column in (name, f"{name}_issued"))
        key = described(issue.rows.iloc[place][["ticker", "as_of", "horizon", "forecaster"]])
        raise LedgerConflictError(
            f"found {name} = {found} for {issue.provenance.model}: {key}, expected {issued} as issued in entry "
            f"{int(joined['sequence'].iloc[place])}; what was issued stands and nothing was written: read it from the "
            "ledger, or issue under another model name"
        )


def _shown(name: str, value: Any) -> str:
    return str(day_of(int(value))) if name == "target_session" else str(value)


def _digest(connection: Connection, model_id: int, sequence: int) -> bytes:
    query = select(entries.c.digest).where(entries.c.model_id == model_id, entries.c.sequence == sequence)
    return bytes(connection.execute(query).scalar_one())


def _add_entry(connection: Connection, model_id: int, issue: Issue) -> tuple[int, bytes]:
    """Return the place and the digest of a new entry at the end of the chain, after adding it."""
    last = connection.execute(select(func.max(entries.c.sequence)).where(entries.c.model_id == model_id)).scalar() or 0
    previous = _digest(connection, model_id, last) if last else FIRST
    digest = digest_of(previous, last + 1, issue.provenance, issue.issued_at, issue.rows)
    origins = day_numbers(issue.rows["as_of"])
    values = {
        "model_id": model_id,
        "sequence": last + 1,
        "digest": digest,
        "issued_at": microseconds(issue.issued_at),
        "row_count": len(issue.rows),
        "first_origin": int(origins.min()),
        "last_origin": int(origins.max()),
        **provenance_columns(issue.provenance),
    }
    connection.execute(entries.insert(), values)
    return last + 1, digest


def provenance_columns(it: Provenance) -> dict[str, object]:
    """Return the columns of an entry that say where its rows come from."""
    backtest = it.backtest
    return {
        **{name: getattr(it, name) for name in SAME_IN_THE_LEDGER},
        "known_at": None if it.known_at is None else microseconds(it.known_at),
        "backtest_date": None if backtest is None else day_number(backtest.date),
        "backtest_verdict": None if backtest is None else backtest.verdict,
        "backtest_run_id": None if backtest is None else backtest.mlflow_run_id,
    }


def _add_rows(connection: Connection, table: pd.DataFrame) -> None:
    """Add rows of an entry, and to what waits for its outcome."""
    insert_rows(connection, forecasts, table.sort_values(list(KEY_IDS)))
    insert_rows(connection, waiting, table.sort_values([column.name for column in waiting.primary_key]))
