"""A short daily job to be killed: two simulated days of three tickers, from memory, the first trains the model.

    python -m tests.workflow.daily_job

reads folders from standard input, and for each runs the job with that home in a process of its own, whose number it
prints, and then its exit status. All is imported once. The job is the same whenever it is started.
"""

import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.errors import SourceError
from pipeline.experiment import Experiment
from pipeline.market.bars import FetchedRows
from pipeline.market.calendars import closed_at, sessions_between
from pipeline.market.sources import RemoteSource
from pipeline.market.specification import YahooSource
from pipeline.workflow.daily import DailyPlan, daily
from pipeline.workflow.run_context import new_context
from tests.panels import TINY, changed, random_rows

LAST = np.datetime64("2023-12-29")
DAYS = sessions_between("XNYS", np.datetime64("2023-12-21"), np.datetime64("2023-12-22"))
ROWS = {name: random_rows(420, seed, LAST) for seed, name in enumerate(("AAA", "BBB", "CCC"))}
EXPERIMENT: Experiment = changed(
    TINY,
    source=YahooSource(start=date(2022, 1, 3)),
    tickers=tuple(ROWS),
    folds={"refit_months": 12, "validation_months": 3},
)


@dataclass(frozen=True)
class Memory:
    """A remote source that reports what was known at an instant."""

    now: Callable[[], datetime]

    def fetch(self, first_days: Mapping[str, date | None]) -> Iterator[tuple[str, FetchedRows | SourceError]]:
        """Yield the rows of each ticker."""
        for ticker, since in first_days.items():
            rows = ROWS[ticker]
            known = rows["session"] <= pd.Timestamp(self.now().date())
            late = known if since is None else known & (rows["session"] >= pd.Timestamp(since))
            yield ticker, FetchedRows(rows[late].reset_index(drop=True), since, "USD", self.now())


def remote(_source: YahooSource, _cache_dir: Path, now: Callable[[], datetime]) -> RemoteSource:
    return Memory(now)


def live_through(days: np.ndarray) -> None:
    """Run the daily use case two hours after each close."""
    for day in days:
        now = closed_at("XNYS", day) + timedelta(hours=2)
        context = new_context("daily", clock=lambda now=now: now, remote=remote)  # type: ignore[misc]
        daily(context, EXPERIMENT, DailyPlan())


def serve() -> None:
    """Run the job for every folder named on standard input."""
    for line in sys.stdin:
        child = os.fork()
        if not child:
            os.environ["TAPECAST_HOME"] = line.strip()
            try:
                live_through(DAYS)
            except BaseException:  # noqa: BLE001  shown, and told by the status
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    import matplotlib.figure  # noqa: F401
    import mlflow  # noqa: F401
    import torch

    torch.set_num_threads(1)
    serve()
