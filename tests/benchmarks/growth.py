"""Measures how a home grows: bytes per daily run and per weekly backtest of 100 tickers by kind, and so per year.

    python -m tests.benchmarks.growth

Prices are made, six years of them; the first day trains a model in few steps, with the network and the benchmarks of a
usual run, and is not counted. The days after are run as Prefect flows on a server of their own, then one backtest of
the last two and a half years. A year has 252 daily runs, 52 backtests and four refits, each with a new version. The
exit status is 1 where a year without pruning takes more than the bound.
"""

import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from statistics import median

import numpy as np
import pandas as pd

from flows.environment import prepare_environment
from flows.temporary_server import TemporaryServer
from pipeline.experiment import Experiment
from pipeline.files import disk_bytes
from pipeline.market.bars import FetchedRows
from pipeline.market.calendars import closed_at, sessions_between
from pipeline.market.specification import StoredSource
from pipeline.market.store.collection import open_collection
from pipeline.market.store.commits import commit
from pipeline.market.update import YAHOO_TERMS
from pipeline.operation.states import STATES
from pipeline.settings import Settings
from pipeline.workflow.progress import NoProgress
from tests.panels import random_rows

DAYS = sessions_between("XNYS", np.datetime64("2019-06-03"), np.datetime64("2019-06-07"))
"""No refit falls on them."""
TICKERS, SESSIONS = 100, 1600
DAILY, BACKTEST, REFIT = "a daily run", "a backtest", "a refit"
PER_YEAR = {DAILY: 252, BACKTEST: 52, REFIT: 4}
BOUND_BYTES = 10e9
DELAY = timedelta(hours=1)
QUICK = {
    "training": {"min_steps": 50, "max_steps": 50},
    "folds": {"train_end": "2015-12-31", "valid_end": "2016-12-31"},
}
LOGS = ("-wal", "-shm")
"""Companions of a SQLite file, which have a largest size."""


def sizes(home: Path) -> dict[str, int]:
    """Return the bytes by kind: the folders of a home, states apart from their model, MLflow's rows from its files."""
    found = {folder.name: _bytes(folder.rglob("*")) for folder in sorted(home.iterdir()) if folder.is_dir()}
    states = sum(disk_bytes(folder) for folder in home.glob(f"models/*/{STATES}"))
    rows = _bytes(home.glob("mlflow/mlflow.db"))
    return {
        **found,
        "models": found.get("models", 0) - states,
        "states": states,
        "mlflow": found.get("mlflow", 0) - rows,
        "mlflow.db": rows,
    }


def _bytes(paths: object) -> int:
    return sum(path.stat().st_size for path in paths if path.is_file() and not path.name.endswith(LOGS))  # type: ignore[attr-defined]


def grown(home: Path, action: Callable[[], object]) -> dict[str, int]:
    """Return the bytes by kind that an action adds."""
    before = sizes(home)
    action()
    after = sizes(home)
    return {kind: after[kind] - before.get(kind, 0) for kind in after}


def store_rows(rows: Mapping[str, pd.DataFrame], day: np.datetime64) -> None:
    """Store the bars up to a day, as an update after its close would."""
    collection = open_collection(Settings().prices, "made", YAHOO_TERMS)
    for ticker, frame in rows.items():
        known = frame[frame["session"] <= day].reset_index(drop=True)
        commit(collection, ticker, FetchedRows(known, None, "USD", closed_at("XNYS", day) + DELAY / 2))


def experiment_on(tickers: tuple[str, ...]) -> Experiment:
    """Return the usual experiment, trained in few steps."""
    values = {**QUICK, "source": StoredSource(collection="made"), "tickers": tickers, "device": "cpu"}
    return Experiment.model_validate(values)


def measured(home: Path) -> dict[str, dict[str, float]]:
    """Return the bytes that a daily run, a backtest and a refit add, by kind."""
    from flows.definitions import build_flows  # noqa: PLC0415  after the environment is set
    from flows.prefect_engine import PREFECT  # noqa: PLC0415

    rows = {f"T{k:03d}": random_rows(SESSIONS, k, DAYS[-1]) for k in range(TICKERS)}
    experiment, flows = experiment_on(tuple(rows)), build_flows(NoProgress(), PREFECT)

    def live_through(day: np.datetime64) -> None:
        store_rows(rows, day)
        result = flows.daily(experiment, "growth", now=closed_at("XNYS", day) + DELAY)
        print(f"  {day}: {result.status}, {sum(result.seconds.values()):.0f} s", flush=True)

    days = [grown(home, lambda day=day: live_through(day)) for day in DAYS]  # type: ignore[misc]
    backtest = grown(home, lambda: flows.backtest(experiment))
    ordinary = {kind: median(day.get(kind, 0) for day in days[1:]) for kind in days[-1]}
    with_refit = ("fits", "models", "mlflow", "reports")  # a refit is tested: it makes a backtest of its own
    refit = {kind: days[0].get(kind, 0) - ordinary.get(kind, 0) for kind in with_refit}
    return {DAILY: ordinary, BACKTEST: {kind: float(it) for kind, it in backtest.items()}, REFIT: refit}


def yearly(found: Mapping[str, Mapping[str, float]]) -> pd.DataFrame:
    """Return a row per kind: megabytes of each action, and gigabytes per year; the last row has their sums."""
    table = pd.DataFrame({name: pd.Series(found[name], dtype=float) / 1e6 for name in PER_YEAR}).fillna(0.0)
    year = sum(table[name] * times for name, times in PER_YEAR.items()) / 1e3
    table = table.assign(**{"GB a year": year}).sort_values("GB a year", ascending=False)
    table.loc["all"] = table.sum()
    return table


def main() -> int:
    """Print the table."""
    with tempfile.TemporaryDirectory(prefix="tapecast-") as folder:
        os.environ["TAPECAST_HOME"] = folder
        prepare_environment(Path(folder))
        server = TemporaryServer.started(Path(folder) / "processes")
        os.environ["PREFECT_API_URL"] = server.api_url
        server.wait(120)
        try:
            table = yearly(measured(Path(folder)))
        finally:
            server.end()
    print(f"{TICKERS} tickers, {SESSIONS} sessions; megabytes that each adds, and gigabytes a year without pruning")
    print(table.round(3).to_string())
    return int(table.loc["all", "GB a year"] * 1e9 > BOUND_BYTES)


if __name__ == "__main__":
    sys.exit(main())
