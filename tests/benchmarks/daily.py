"""Measures an ordinary day: 100 tickers from an up-to-date store, and the disk that a day takes on five tickers.

    python -m tests.benchmarks.daily

The prices are the large panel's, imported into a store; the model is trained once, in few steps: what is timed are the
days after, without a refit, each in a process of its own from its start to its end. Prefect is not started. The exit
status is the number of misses.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.experiment import Experiment
from pipeline.market.bars import FetchedRows
from pipeline.market.calendars import closed_at, sessions_between
from pipeline.market.specification import StoredSource
from pipeline.market.store.collection import open_collection
from pipeline.market.store.commits import commit
from pipeline.market.update import YAHOO_TERMS
from pipeline.settings import Settings
from pipeline.workflow.daily import DailyPlan, daily
from pipeline.workflow.run_context import new_context
from tests.benchmarks.main_job import PANEL, Measured, at_most, large_bars

DAYS = sessions_between("XNYS", np.datetime64("2019-06-03"), np.datetime64("2019-06-07"))
"""No refit falls on them."""
MANY, FEW = 100, 5
BOUND_SECONDS, BOUND_BYTES = 15.0, 1_000_000
DELAY = timedelta(hours=1)
QUICK = {
    "training": {"min_steps": 50, "max_steps": 50},
    "folds": {"train_end": "2016-12-31", "valid_end": "2017-12-31"},
}


def bytes_in(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def store_rows(frame: pd.DataFrame, tickers: list[str], day: np.datetime64) -> None:
    """Store the bars of tickers up to a day, as an update after its close would."""
    collection = open_collection(Settings().prices, "panel", YAHOO_TERMS)
    known = frame[(frame["session"] <= day) & frame["ticker"].isin(tickers)]
    for ticker, rows in known.groupby("ticker"):
        of_ticker = rows.drop(columns="ticker").reset_index(drop=True)
        commit(collection, str(ticker), FetchedRows(of_ticker, None, "USD", closed_at("XNYS", day) + DELAY / 2))


def live_through(day: np.datetime64, tickers: list[str]) -> None:
    """Run the daily use case after the close of a day, and print what it did."""
    values = {**QUICK, "source": StoredSource(collection="panel"), "tickers": tuple(tickers), "device": "cpu"}
    now = closed_at("XNYS", day) + DELAY
    result = daily(new_context("daily", clock=lambda: now), Experiment.model_validate(values), DailyPlan())
    (calendar,) = result.calendars
    print(f"  {day}: {len(tickers)} tickers", result.seconds)
    if calendar.skipped or result.refit or not result.recorded:
        print(f"  no ordinary day: {calendar.skipped} {result.refit} recorded: {result.recorded}")


def days_of(frame: pd.DataFrame, tickers: list[str]) -> list[tuple[float, int]]:
    """Return the seconds and the added bytes of each day after the first, which trains the model."""
    found = []
    for day in DAYS:
        store_rows(frame, tickers, day)
        before, begun = bytes_in(Settings().root), time.perf_counter()
        subprocess.run([sys.executable, "-m", "tests.benchmarks.daily", str(day), ",".join(tickers)], check=True)
        found.append((time.perf_counter() - begun, bytes_in(Settings().root) - before))
        print(f"  {found[-1][0]:.1f} s from start to end, {found[-1][1] / 1e6:.2f} MB", flush=True)
    return found[1:]


def measured() -> Iterator[Measured]:
    """Yield the seconds of a day of 100 tickers, and the bytes of one of five."""
    frame = large_bars().frame
    tickers = sorted(frame["ticker"].unique())
    days = {}
    for count in (MANY, FEW):
        with tempfile.TemporaryDirectory(prefix="tapecast-") as home:
            os.environ["TAPECAST_HOME"] = home
            days[count] = days_of(frame, tickers[:count])
    seconds, added = (float(np.median([day[k] for day in days[count]])) for k, count in enumerate((MANY, FEW)))
    yield at_most(f"{MANY} tickers: seconds of an ordinary day, median", seconds, BOUND_SECONDS)
    yield at_most(f"{FEW} tickers: bytes that an ordinary day adds, median", added, BOUND_BYTES)


def main() -> int:
    """Print the measures; with a day and tickers, live through that day."""
    if len(sys.argv) > 1:
        live_through(np.datetime64(sys.argv[1]), sys.argv[2].split(","))
        return 0
    if not PANEL.exists():
        print(f"no panel at {PANEL}: an ordinary day cannot be measured here")
        return 1
    found = list(measured())
    for line in found:
        print(line)
    return sum(not line.met for line in found)


if __name__ == "__main__":
    sys.exit(main())
