"""Verification: the chain is computed again from its rows, and compared with what was noted of it elsewhere."""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
from sqlalchemy import Connection, Row, and_, func, select

from pipeline.errors import LedgerError
from pipeline.operation.ledger.chain import FIRST, digest_of
from pipeline.operation.ledger.coding import decoded, name_id, rows_of
from pipeline.operation.ledger.database import Ledger
from pipeline.operation.ledger.entries import entry_of
from pipeline.operation.ledger.schema import entries, forecasts

UNREADABLE = (LedgerError, TypeError, ValueError, OverflowError, AttributeError, struct.error)


@dataclass(frozen=True)
class Fault:
    """The first entry of a chain that is not as it was written, and what is wrong."""

    sequence: int
    sentence: str


@dataclass(frozen=True)
class Verification:
    """What was verified under a model name: entries, rows, the last digest ("" of an empty chain), and a fault."""

    model: str
    entries: int
    rows: int
    head: str
    fault: Fault | None


def verify(ledger: Ledger, model: str, heads: Mapping[int, str]) -> Verification:
    """Compute the chain of a model name again from its rows, and name the first entry that is not as it was written.

    That finds a row that was altered, deleted, inserted or moved. `heads` (sequence -> digest, hexadecimal) are what
    was noted outside the ledger when entries were written: with them a tail that was cut off and a chain that was
    written anew are found too. Grades and the table of what waits for one are in no digest: they are not verified, and
    can be computed again from the prices. Raises LedgerError where the ledger cannot be read.
    """
    with ledger.reading() as connection:
        model_id = name_id(connection, model)
        walk = _Walk(connection, model, -1 if model_id is None else model_id)
        fault = walk.to_the_end(heads)
    return Verification(model, walk.sequence, walk.rows, walk.digest.hex() if walk.sequence else "", fault)


class _Walk:
    """A walk along a chain: the entry that was reached, its digest, and the rows until there."""

    def __init__(self, connection: Connection, model: str, model_id: int) -> None:
        self.sequence, self.digest, self.rows = 0, FIRST, 0
        self._connection, self._model, self._model_id = connection, model, model_id

    def to_the_end(self, heads: Mapping[int, str]) -> Fault | None:
        """Walk until the end or the first fault, and return it."""
        query = select(entries).where(entries.c.model_id == self._model_id).order_by(entries.c.sequence)
        for row in self._connection.execute(query).all():
            if (sentence := self._fault(row, heads)) is not None:
                return Fault(min(self.sequence + 1, row.sequence), sentence)
            self.sequence, self.digest, self.rows = row.sequence, row.digest, self.rows + row.row_count
        return self._missing_tail(heads) or self._stray_rows()

    def _fault(self, row: Row[Any], heads: Mapping[int, str]) -> str | None:
        """Return what is wrong with the next entry, None where nothing is."""
        number = row.sequence
        if number != self.sequence + 1:
            return f"found entry {number} after entry {self.sequence}, expected {self.sequence + 1}: entries are gone"
        table = rows_of(self._connection, self._model_id, row)
        if len(table) != row.row_count:
            change = "deleted" if len(table) < row.row_count else "inserted"
            return f"found {len(table)} rows in entry {number}, expected {row.row_count}: rows were {change}"
        try:
            altered = self._altered(row, table)
        except UNREADABLE as error:
            altered = f"cannot read entry {number}: {error}; a value was altered"
        return altered or _written_anew(row, heads)

    def _altered(self, row: Row[Any], table: pd.DataFrame) -> str | None:
        """Return in which way an entry is not what its digest says; raises one of UNREADABLE."""
        entry, rows = entry_of(self._model, row), decoded(self._connection, table)
        digest = digest_of(self.digest, row.sequence, entry.provenance, entry.issued_at, rows).hex()
        origins = (rows["as_of"].min().date(), rows["as_of"].max().date())
        if digest != entry.digest:
            return (
                f"found values in entry {row.sequence} with the digest {digest[:12]}, expected {entry.digest[:12]}: "
                "something in it, or its place, was altered"
            )
        if origins != (entry.first_origin, entry.last_origin):
            noted = f"{entry.first_origin} to {entry.last_origin}"
            return f"found origins from {noted} in entry {row.sequence}, expected {origins[0]} to {origins[1]}: altered"
        return None

    def _missing_tail(self, heads: Mapping[int, str]) -> Fault | None:
        later = sorted(sequence for sequence in heads if sequence > self.sequence)
        if not later:
            return None
        expected = f"expected entry {later[-1]}, which was noted when it was issued: the tail was cut off"
        return Fault(self.sequence + 1, f"found a chain that ends at entry {self.sequence}, {expected}")

    def _stray_rows(self) -> Fault | None:
        """Return the first entry that rows name though it does not have them, by a look at all rows where any exist."""
        of_model = forecasts.c.model_id == self._model_id
        count = self._connection.execute(select(func.count()).select_from(forecasts).where(of_model)).scalar_one()
        if count == self.rows:
            return None
        same = and_(entries.c.model_id == forecasts.c.model_id, entries.c.sequence == forecasts.c.sequence)
        spanned = forecasts.c.as_of.between(entries.c.first_origin, entries.c.last_origin)
        stray = select(func.min(forecasts.c.sequence)).select_from(forecasts.outerjoin(entries, same))
        first = self._connection.execute(stray.where(of_model, spanned.is_not(True))).scalar_one()
        return Fault(
            first, f"found {count - self.rows} rows that no entry has, the first of entry {first}: rows were inserted"
        )


def _written_anew(row: Row[Any], heads: Mapping[int, str]) -> str | None:
    found = bytes(row.digest).hex()
    if (noted := heads.get(row.sequence, found)) == found:
        return None
    return (
        f"found entry {row.sequence} with the digest {found[:12]}, expected {noted[:12]} as noted when it was issued: "
        "the chain was written anew"
    )
