"""Entries of the chain, as values."""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import Row

from pipeline.operation.ledger.chain import day_of, instant_of
from pipeline.operation.ledger.issues import SAME_IN_THE_LEDGER, Provenance
from pipeline.operation.model import BacktestReference


@dataclass(frozen=True)
class Entry:
    """An issue as the ledger has it, less its rows: its place in the chain, its digest, rows and origins."""

    sequence: int
    digest: str
    provenance: Provenance
    issued_at: datetime
    row_count: int
    first_origin: date
    last_origin: date


def entry_of(model: str, row: Row[Any]) -> Entry:
    """Return the entry of a row of the table; raises LedgerError or ValueError for what no writer of ours wrote."""
    return Entry(
        sequence=row.sequence,
        digest=bytes(row.digest).hex(),
        provenance=_provenance(model, row),
        issued_at=instant_of(row.issued_at),
        row_count=row.row_count,
        first_origin=day_of(row.first_origin),
        last_origin=day_of(row.last_origin),
    )


def _provenance(model: str, row: Row[Any]) -> Provenance:
    return Provenance(
        **{name: getattr(row, name) for name in SAME_IN_THE_LEDGER},
        model=model,
        known_at=None if row.known_at is None else instant_of(row.known_at),
        backtest=_backtest(row),
    )


def _backtest(row: Row[Any]) -> BacktestReference | None:
    if row.backtest_date is None and row.backtest_verdict is None and row.backtest_run_id is None:
        return None
    return BacktestReference(day_of(row.backtest_date), row.backtest_verdict, row.backtest_run_id)
