"""Measures the ledger on SQLite with ten years of 500 tickers in it: 50 million rows, all graded but the last days'.

    python -m tests.benchmarks.ledger [DAYS] [TICKERS] [FOLDER]

The rows are made by bulk insert (2,500 days x 500 tickers x 5 horizons x 8 forecasters by default; 8.5 GB in
FOLDER, by default the system's temporary folder, and gone afterwards). Then one day is issued, read and graded as every
day is. Prints a line per number with its bound and whether it was met; the exit status is the number of misses.
"""

import os
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from typing import TypeVar

from pipeline.market.calendars import closed_at, next_sessions, sessions_between
from pipeline.operation.ledger.chain import day_number, microseconds
from pipeline.operation.ledger.database import Ledger, open_ledger
from pipeline.operation.ledger.grades import append_grades, scored
from pipeline.operation.ledger.issues import Issue
from pipeline.operation.ledger.reading import last_entry, listed, rows_of_origin, ungraded
from pipeline.operation.ledger.record import last_graded, latest_outcomes, record_of
from pipeline.operation.ledger.writing import append
from pipeline.sqlite import sqlite_uri
from tests.benchmarks.store import said
from tests.operation.ledger.issued import forecast_rows, provenance

R = TypeVar("R")

DAYS, TICKERS, HORIZONS = 2500, 500, 5
FORECASTERS = tuple(f"forecaster{number}" for number in range(8))
CALENDAR, MODEL = "XNYS", "daily"
BOUND_SECONDS = 1.0
NAMES = 1000
"""From this number on names are those of tickers; below it are the model's and the forecasters'."""

FORECAST_ROWS = """
INSERT INTO ledger_forecasts
SELECT 1, days.as_of, tickers.id, horizons.horizon, forecasters.id, days.sequence, targets.as_of,
    100.1 + tickers.id + 0.01 * days.sequence, -0.0301, -0.0201, -0.0101, 0.0011, 0.0101, 0.0201, 0.0301,
    forecasters.id = 2, 0
FROM days CROSS JOIN tickers CROSS JOIN horizons CROSS JOIN forecasters
    JOIN days AS targets ON targets.sequence = days.sequence + horizons.horizon
WHERE days.sequence BETWEEN ? AND ?
"""
GRADE_ROWS = """
INSERT INTO ledger_grades
SELECT model_id, as_of, ticker_id, horizon, forecaster_id, 0, 1, 0.0123, 0.0034, 0.0056, 0.0112, 0, 1, 1
FROM ledger_forecasts WHERE target_session <= ?
"""
WAITING_ROWS = """
INSERT INTO ledger_ungraded SELECT model_id, target_session, as_of, ticker_id, horizon, forecaster_id
FROM ledger_forecasts WHERE as_of > ? AND target_session > ?
"""


def fill(path: Path, sessions: Sequence[date], tickers: Sequence[str]) -> None:
    """Insert a row per session but the last HORIZONS, ticker, horizon and forecaster, in the order of the key."""
    connection = sqlite3.connect(path, isolation_level=None)
    for pragma in ("journal_mode = OFF", "synchronous = OFF", "foreign_keys = OFF", "cache_size = -200000"):
        connection.execute(f"PRAGMA {pragma}")
    issued, numbers = len(sessions) - HORIZONS, [day_number(day) for day in sessions]
    connection.execute("BEGIN")
    connection.execute("INSERT INTO ledger_names VALUES (1, ?)", [MODEL])
    connection.executemany("INSERT INTO ledger_names VALUES (?, ?)", enumerate(FORECASTERS, 2))
    connection.executemany("INSERT INTO ledger_names VALUES (?, ?)", enumerate(tickers, NAMES))
    make_series(connection, numbers, len(tickers))
    entries = [entry(number, day, len(tickers)) for number, day in enumerate(sessions[:issued], 1)]
    connection.executemany(f"INSERT INTO ledger_entries VALUES ({', '.join('?' * 20)})", entries)  # noqa: S608
    for first in range(1, issued + 1, 100):
        connection.execute(FORECAST_ROWS, (first, min(first + 99, issued)))
    connection.execute("INSERT INTO ledger_gradings VALUES (1, 1, 0, 0)")
    connection.execute(GRADE_ROWS, [numbers[issued - 1]])
    connection.execute(WAITING_ROWS, [numbers[issued - 1 - HORIZONS], numbers[issued - 1]])
    connection.execute("COMMIT")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.close()
    with path.open("rb+") as file:
        os.fsync(file.fileno())  # else the first commit would write these gigabytes


def make_series(connection: sqlite3.Connection, numbers: Sequence[int], tickers: int) -> None:
    """Make the temporary tables whose product are the rows."""
    connection.execute("CREATE TEMP TABLE days (sequence INTEGER PRIMARY KEY, as_of INTEGER)")
    connection.executemany("INSERT INTO days VALUES (?, ?)", enumerate(numbers, 1))
    for name, column, values in (
        ("tickers", "id", range(NAMES, NAMES + tickers)),
        ("horizons", "horizon", range(1, HORIZONS + 1)),
        ("forecasters", "id", range(2, 2 + len(FORECASTERS))),
    ):
        connection.execute(f"CREATE TEMP TABLE {name} ({column} INTEGER PRIMARY KEY)")
        connection.executemany(f"INSERT INTO {name} VALUES (?)", [(value,) for value in values])  # noqa: S608


def entry(sequence: int, day: date, tickers: int) -> tuple[object, ...]:
    """Return a row of the table of entries; its digest is that of nothing, as the chain is not verified here."""
    issued_at, number = microseconds(closed_at(CALENDAR, day)), day_number(day)
    rows = tickers * HORIZONS * len(FORECASTERS)
    said_of = ("e" * 64, "c" * 64, "0.1.0", "1" * 64, "AVX2", issued_at, "as_traded", number, "a verdict", "run", "run")
    return (1, sequence, bytes(32), issued_at, rows, number, number, 1, CALENDAR, *said_of)


def timed(what: str, action: Callable[[], R], missed: list[str]) -> R:
    """Return what an action returns, after printing the seconds and the processor's seconds it took."""
    began, worked = time.perf_counter(), time.process_time()
    result = action()
    seconds, processor = time.perf_counter() - began, time.process_time() - worked
    if not said(f"{what} ({processor:.2f} s of this process)", seconds, BOUND_SECONDS, "s"):
        missed.append(what)
    return result


def measure(ledger: Ledger, issue: Issue, before: date) -> int:
    """Issue, read and grade one day as every day is, and return the number of misses."""
    missed: list[str] = []
    day, tickers = issue.rows["as_of"].iloc[0].date(), sorted(issue.rows["ticker"].unique())
    count = f"{len(issue.rows):,} rows"
    began = time.perf_counter()
    timed("last entry", lambda: last_entry(ledger, MODEL, CALENDAR), missed)
    due = timed("what waits for its outcome of one day", lambda: ungraded(ledger, MODEL, day), missed)
    outcomes = due[["ticker", "as_of", "horizon"]].drop_duplicates().assign(outcome=0.01)
    scores = timed(f"scores of {len(due):,} rows", lambda: scored(due, outcomes), missed)
    at = issue.issued_at
    timed(f"grades of {len(due):,} rows appended", lambda: append_grades(ledger, MODEL, scores, at, at), missed)
    timed(f"issue of {count} appended", lambda: append(ledger, issue), missed)
    timed("list of the 20 newest issues", lambda: listed(ledger, MODEL, 20), missed)
    print(f"        all of these together {time.perf_counter() - began:.3f} s")
    timed("the same issue again", lambda: append(ledger, issue), missed)
    timed(f"{count} of an origin read", lambda: rows_of_origin(ledger, MODEL, day, CALENDAR), missed)
    timed("rows of an origin long ago read", lambda: rows_of_origin(ledger, MODEL, before, CALENDAR), missed)
    timed("latest outcomes of ten sessions", lambda: latest_outcomes(ledger, MODEL, tickers, ten_before(day)), missed)
    timed("last grading of each ticker of these", lambda: last_graded(ledger, MODEL, tickers, ten_before(day)), missed)
    began = time.perf_counter()
    record_of(ledger, MODEL, since=ten_before(day))
    print(f"        the record of ten sessions {time.perf_counter() - began:.3f} s")
    return len(missed)


def ten_before(day: date) -> date:
    """Return the session ten before one."""
    found: date = sessions_between(CALENDAR, date(1990, 1, 2), day)[-11].item()
    return found


def main(days: int, tickers: int, folder: Path | None) -> int:
    """Fill a ledger and measure it; returns the number of misses."""
    sessions = [day.item() for day in next_sessions(CALENDAR, date(2012, 1, 1), days + HORIZONS)]
    names = [f"T{number:03d}" for number in range(tickers)]
    with tempfile.TemporaryDirectory(dir=folder) as made:
        path = Path(made) / "ledger.db"
        ledger = open_ledger(sqlite_uri(path))
        began = time.perf_counter()
        fill(path, sessions, names)
        rows = days * tickers * HORIZONS * len(FORECASTERS)
        size = path.stat().st_size
        print(f"        {rows:,} rows made in {time.perf_counter() - began:.0f} s", end=": ")
        print(f"{size / 1e9:.2f} GB, {size / rows:.0f} B a row")
        day = sessions[days]
        rows_of_day = forecast_rows(day, names, HORIZONS, FORECASTERS)
        misses = measure(ledger, Issue(provenance(MODEL), closed_at(CALENDAR, day), rows_of_day), sessions[days // 2])
        print(f"        after the day {(path.stat().st_size - size) / 1e6:.2f} MB more")
    return misses


if __name__ == "__main__":
    given = dict(enumerate(sys.argv[1:]))
    sys.exit(main(int(given.get(0, DAYS)), int(given.get(1, TICKERS)), Path(given[2]) if 2 in given else None))
