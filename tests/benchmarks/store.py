"""Measures the price store: commits, reads and facts of 504 tickers x 5,400 sessions, and memory.

    python -m tests.benchmarks.store

The panel is made of the 100 tickers in ../shared/data under other names; nothing of it is part of the project. Prints
a line per number with its bound and whether it was met; the exit status is the number of misses.
"""

import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.market.bars import FetchedRows
from pipeline.market.store.collection import Collection, CollectionTerms, disk_use, facts, open_collection, tickers
from pipeline.market.store.commits import commit_all
from pipeline.market.store.history import Version
from pipeline.market.store.stored import StoredPrices, rows_of_all

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared" / "data" / "us_core100_daily_1999_2021.parquet"
TICKERS, SESSIONS = 504, 5400
TAIL_SESSIONS = 10
TERMS = CollectionTerms(kind="files", has_actions=True, returns_from="actions", note="Cloned for a measurement.")


def write_panel(path: Path) -> None:
    """Write one long Parquet file of TICKERS x SESSIONS rows: the shared tickers again and again, renamed."""
    table = pq.read_table(SHARED)
    whole = table.set_column(0, "ticker", table["ticker"].cast(pa.string()))
    names = sorted(whole["ticker"].unique().to_pylist())
    by_ticker = {name: whole.filter(pa.compute.equal(whole["ticker"], name)).slice(0, SESSIONS) for name in names}
    with pq.ParquetWriter(path, whole.schema) as writer:
        for k in range(TICKERS):
            name = names[k % len(names)]
            ticker = pa.array([f"{name}.{k // len(names)}"] * SESSIONS)
            writer.write_table(by_ticker[name].set_column(0, "ticker", ticker), row_group_size=SESSIONS)


def answers(path: Path, since: date | None = None) -> Iterator[tuple[str, FetchedRows]]:
    """The panel's tickers as fetches of now, from one day on or whole, read when they are requested."""
    file = pq.ParquetFile(path)
    for group in range(file.num_row_groups):
        rows = file.read_row_group(group).to_pandas().rename(columns={"date": "session"})
        ticker, rows = str(rows["ticker"].iloc[0]), rows.drop(columns="ticker")
        rows = rows.astype({name: "float64" for name in rows.columns if name != "session"})
        requested = rows if since is None else rows[rows["session"] >= pd.Timestamp(since)].reset_index(drop=True)
        yield ticker, FetchedRows(requested, since, "USD", datetime.now(UTC))


def timed(what: str, bound_seconds: float, action: Callable[[], object]) -> bool:
    """Run, print the seconds and their bound, and return whether it was met."""
    began = time.perf_counter()
    action()
    return said(what, time.perf_counter() - began, bound_seconds, "s")


def said(what: str, value: float, bound: float, unit: str) -> bool:
    """Print a number and its bound, and return whether it was met."""
    print(f"{'met   ' if value <= bound else 'MISSED'}  {what:<72} {value:8.3f} {unit}   at most {bound:g}", flush=True)
    return value <= bound


def read_now(collection: Collection) -> float:
    """Read all current rows as the panel does, and return a sum over them."""
    rows = rows_of_all(StoredPrices(collection), tickers(collection))
    return float(np.sum([frame["close"].sum() for frame in rows.values() if isinstance(frame, pd.DataFrame)]))


def commit_file(collection: Collection, path: Path, since: date | None = None) -> list[Version]:
    """Commit the panel's tickers and return their versions."""
    versions = [version for _, version in commit_all(collection, answers(path, since)) if isinstance(version, Version)]
    if len(versions) != TICKERS:
        raise RuntimeError(f"{len(versions)} of {TICKERS} tickers were committed")
    return versions


def measure(folder: Path) -> int:
    """Measure in this process, with the panel in `folder`, and return the number of misses."""
    panel = folder / "panel.parquet"
    collection = open_collection(folder / "prices", "files", TERMS)
    versions: list[Version] = []
    met = [
        timed(
            "commit of 504 tickers x 5,400 sessions, new", 15, lambda: versions.extend(commit_file(collection, panel))
        ),
        timed("the same again: a version more, no row", 15, lambda: commit_file(collection, panel)),
        timed(
            "commit of a tail that all have already",
            15,
            lambda: commit_file(collection, panel, _days_before(versions[0].last_session)),
        ),
        timed("read of all current rows, verified", 0.8, lambda: read_now(collection)),
        timed("facts of all", 0.5, lambda: [facts(collection, ticker) for ticker in tickers(collection)]),
        timed("disk use", 0.5, lambda: disk_use(collection)),
        said("peak memory of the process", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 1.0, "GB"),
    ]
    use = disk_use(collection)
    print(f"        {use.tickers} files with {use.versions} versions take {use.size_bytes / 1e6:.1f} MB")
    return met.count(False)


def _days_before(last: date) -> date:
    found: date = (np.datetime64(last, "D") - 2 * TAIL_SESSIONS).astype(object)
    return found


def main(arguments: Sequence[str] = ()) -> int:
    """Measure in a process of its own, with a folder that is gone afterwards; returns the number of misses."""
    if arguments:
        return measure(Path(arguments[0]))
    if not SHARED.exists():
        print(f"no panel at {SHARED}: the store cannot be measured here")
        return 1
    with tempfile.TemporaryDirectory() as name:
        write_panel(Path(name) / "panel.parquet")
        return subprocess.run([sys.executable, "-m", "tests.benchmarks.store", name], cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
