"""Fetches and collections for the store's tests, and what another process does with them."""

import os
import signal
import sys
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import FrameType

import numpy as np
import pandas as pd

from pipeline.market.bars import FetchedRows
from pipeline.market.store.collection import Collection, CollectionTerms, open_collection
from pipeline.market.store.commits import commit
from tests.market.rows import good_rows

BEGIN = datetime(2024, 6, 3, 21, 30, tzinfo=UTC)
LONG_AGO = datetime(1980, 1, 1, tzinfo=UTC)
"""As `now` it makes every stored version one from the future, so that no fetch counts as overtaken."""

TERMS = CollectionTerms(kind="yahoo", has_actions=True, returns_from="actions", note="Made up.")
WITH_ADJ_CLOSE = CollectionTerms(kind="files", has_actions=True, returns_from="adj_close", note="Made up.")


def after(hours: float) -> datetime:
    return BEGIN + timedelta(hours=hours)


def day(rows: pd.DataFrame, at: int) -> date:
    found: date = rows["session"].iloc[at].date()
    return found


def fetched_of(rows: pd.DataFrame, hours: float = 0.0, since: date | None = None, currency: str = "USD") -> FetchedRows:
    """A fetch of the rows from `since` on, some hours after BEGIN."""
    requested = rows if since is None else rows[rows["session"] >= pd.Timestamp(since)]
    return FetchedRows(requested.reset_index(drop=True), since, currency, after(hours))


def opened(root: Path, terms: CollectionTerms = TERMS) -> Collection:
    return open_collection(root, "made", terms)


def repriced(rows: pd.DataFrame, seed: int) -> pd.DataFrame:
    """The rows with every close moved a little, so that a fetch of them restates them all."""
    moved = np.random.default_rng(seed).uniform(0.99, 1.0, len(rows))
    return rows.assign(close=rows["close"] * moved)


def commit_in_rounds(collection: Collection, tickers: Sequence[str], report: Path, rounds: int) -> None:
    """Commit a restating fetch of each ticker, round by round, and write a line after each commit."""
    rows = good_rows(40)
    with report.open("a") as lines:
        for count in range(rounds):
            fetched = fetched_of(repriced(rows, count), hours=0.0)
            for ticker in tickers:
                version = commit(collection, ticker, fetched, now=LONG_AGO)
                lines.write(f"{ticker} {version.known_at.isoformat()}\n")
                lines.flush()


FILE_CALLS = {"open", "write", "flush", "close", "fsync", "replace", "rename", "unlink", "mkdir", "flock", "read"}


def commit_until_call(collection: Collection, ticker: str, fetched: FetchedRows, last_moment: int) -> None:
    """Commit, and be killed at the n-th moment before or after a call that touches files; if there are fewer, end."""
    left = [last_moment]

    def kill(_: FrameType, event: str, called: object) -> None:
        if event in ("c_call", "c_return") and getattr(called, "__name__", "") in FILE_CALLS:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.setprofile(kill)
    commit(collection, ticker, fetched)
    sys.setprofile(None)
