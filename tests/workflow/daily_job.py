"""A short daily job to be killed: two simulated days of three tickers, from memory, the first trains the model.

    python -m tests.workflow.daily_job

reads folders from standard input, and for each runs the job with that home in a process of its own, whose number it
prints, and then its exit status. All is imported once. The job is the same whenever it is started.
"""

import os
import sys
import traceback
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from types import MappingProxyType

import numpy as np
import pandas as pd

from pipeline.errors import SourceError
from pipeline.experiment import Experiment
from pipeline.market.bars import FetchedRows
from pipeline.market.calendars import closed_at, sessions_between
from pipeline.market.specification import YahooSource
from pipeline.workflow.daily import DailyPlan, daily
from pipeline.workflow.run_context import RunContext, new_context
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
    """A remote source that reports what was known at an instant; of `late` tickers not the last session."""

    now: Callable[[], datetime]
    late: frozenset[str]
    rows: Mapping[str, pd.DataFrame]

    def fetch(self, first_days: Mapping[str, date | None]) -> Iterator[tuple[str, FetchedRows | SourceError]]:
        """Yield the rows of each ticker."""
        for ticker, since in first_days.items():
            rows = self.rows[ticker]
            known = rows[rows["session"] <= pd.Timestamp(self.now().date())]
            known = known.iloc[:-1] if ticker in self.late else known
            asked = known if since is None else known[known["session"] >= pd.Timestamp(since)]
            if asked.empty:
                yield ticker, SourceError("no bar of a completed session")
            else:
                yield ticker, FetchedRows(asked.reset_index(drop=True), since, "USD", self.now())


def evening(day: np.datetime64) -> datetime:
    """Two hours after the close of a session."""
    return closed_at("XNYS", day) + timedelta(hours=2)


def context_at(
    now: datetime, late: Collection[str] = (), rows: Mapping[str, pd.DataFrame] = MappingProxyType(ROWS)
) -> RunContext:
    """The context of a daily run at an instant."""
    late = frozenset(late)
    return new_context("daily", clock=lambda: now, remote=lambda _source, _cache, clock: Memory(clock, late, rows))


def live_through(days: np.ndarray) -> None:
    """Run the daily use case in the evening of each session."""
    for day in days:
        daily(context_at(evening(day)), EXPERIMENT, DailyPlan())


def serve() -> None:
    """Run the job for every folder named on standard input."""
    for line in sys.stdin:
        child = os.fork()
        if not child:
            os.environ["TAPECAST_HOME"] = line.strip()
            try:
                live_through(DAYS)
            except BaseException:  # noqa: BLE001  shown, and the status says so
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
