"""Measures prices end to end: import through the command, load for training, an update that has nothing to request.

    python -m tests.benchmarks.prices

The panel of 504 tickers x 5,400 sessions is made of the 100 tickers in ../shared/data under other names. Prints a
line per number with its bound and whether it was met; the exit status is the number of misses.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import numpy as np
import pandas as pd

from pipeline.dataset.panel import Panel, build_panel
from pipeline.market.bars import FetchedRows
from pipeline.market.calendars import last_completed_session, sessions_between
from pipeline.market.specification import YAHOO, StoredSource
from pipeline.market.store.collection import open_collection
from pipeline.market.store.commits import commit_all
from pipeline.market.store.stored import open_stored
from pipeline.market.update import YAHOO_TERMS
from pipeline.market.validation.validate import terms_for, validate
from pipeline.workflow.validation import DEFAULT_MIN_SESSIONS, rows_by_ticker
from tests.benchmarks.store import ROOT, SESSIONS, SHARED, TICKERS, said

TAPECAST = Path(sys.executable).with_name("tapecast")
NOWHERE = "http://127.0.0.1:9"
UP_TO_DATE = 500
FEW_SESSIONS = 30


def seconds_of(home: Path, *arguments: str | Path) -> tuple[float, str]:
    """Run a command with its state in a home and no network; return the seconds it took and what it printed."""
    nowhere = dict.fromkeys(("HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy"), NOWHERE)
    loopback = dict.fromkeys(("NO_PROXY", "no_proxy"), "127.0.0.1,localhost")
    environment = {**os.environ, **nowhere, **loopback, "TAPECAST_HOME": str(home)}
    began = time.perf_counter()
    command = [TAPECAST, *map(str, arguments)]
    printed = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    return time.perf_counter() - began, printed


def loaded(home: Path) -> Panel:
    """The panel that a fit would be made of, from the store, validated."""
    source = open_stored(home / "prices", StoredSource(collection="files"))
    terms = terms_for(source, source.tickers(), datetime.now(UTC), DEFAULT_MIN_SESSIONS)
    validated = validate(rows_by_ticker(source, source.tickers()), terms)
    if validated.excluded:
        raise RuntimeError(f"{len(validated.excluded)} tickers were left out: {validated.excluded[0]}")
    return build_panel(validated.bars)


def seconds_to_load(home: Path) -> float:
    """The median seconds of three loads in this process."""
    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        panel = loaded(home)
        seconds.append(time.perf_counter() - began)
        if panel.close.shape[0] != TICKERS or np.isfinite(panel.close).sum() != TICKERS * SESSIONS:
            raise RuntimeError(f"the panel has shape {panel.close.shape}, expected {TICKERS} x {SESSIONS} prices")
    return median(seconds)


def fresh_tickers(panel: Path) -> Iterator[tuple[str, FetchedRows]]:
    """Short histories that end with the last completed session."""
    now = datetime.now(UTC)
    last = last_completed_session("XNYS", now)
    days = sessions_between("XNYS", np.datetime64("2020-01-02"), last)[-FEW_SESSIONS:]
    whole = pd.read_parquet(panel, filters=[("ticker", "==", "AAPL.0")]).tail(FEW_SESSIONS)
    names = ["open", "high", "low", "close", "volume", "adj_close", "dividend", "split"]
    rows = whole[names].astype("float64").assign(session=days.astype("datetime64[s]"))[["session", *names]]
    for k in range(UP_TO_DATE):
        yield f"U{k}", FetchedRows(rows.reset_index(drop=True), None, "USD", now)


def measure(folder: Path) -> int:
    """Measure with the panel in `folder`, and return the number of misses."""
    panel, home = folder / "panel.parquet", folder / "home"
    whole, printed = seconds_of(home, "data", "update", "--path", panel, "--json")
    stages = sum(json.loads(printed)["seconds"].values())
    print(f"        the whole import command took {whole:.1f} s, {stages:.1f} s of them until its result was printed")
    memory_gb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    met = [
        said("first import of 504 tickers x 5,400 sessions", stages, 20, "s"),
        said("its peak memory", memory_gb, 1.5, "GB"),
        said("load of that panel for training: store, validation, panel (median of 3)", seconds_to_load(home), 2, "s"),
        said("peak memory of the load", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 1.5, "GB"),
    ]
    list(commit_all(open_collection(home / "prices", YAHOO, YAHOO_TERMS), fresh_tickers(panel)))
    up_to_date = median(seconds_of(home, "data", "update")[0] for _ in range(3))
    met.append(said("update of 500 up-to-date tickers, no network (median of 3)", up_to_date, 5, "s"))
    met.append(
        said(
            "check of 504 tickers by the command",
            seconds_of(home, "data", "check", "--collection", "files")[0],
            10,
            "s",
        )
    )
    return met.count(False)


def main() -> int:
    """Measure with a folder that is gone afterwards; returns the number of misses."""
    if not SHARED.exists():
        print(f"no panel at {SHARED}: prices cannot be measured here")
        return 1
    with tempfile.TemporaryDirectory() as name:
        # in a process of its own, so that this one's memory is that of the load alone
        make = "import sys, pathlib; from tests.benchmarks import store; store.write_panel(pathlib.Path(sys.argv[1]))"
        subprocess.run([sys.executable, "-c", make, str(Path(name) / "panel.parquet")], cwd=ROOT, check=True)
        return measure(Path(name))


if __name__ == "__main__":
    sys.exit(main())
