"""Simulated days: a fake Yahoo on loopback that knows each day's bars only, and the daily use case at its hour."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.experiment import Experiment
from pipeline.market.calendars import closed_at, sessions_between
from pipeline.market.sources import RemoteSource
from pipeline.market.specification import YahooSource
from pipeline.market.yahoo.client import YahooClient
from pipeline.market.yahoo.rate_limit import Clock
from pipeline.workflow.daily import DailyPlan, daily
from pipeline.workflow.daily_result import DailyResult
from pipeline.workflow.ingest import IngestResult, ingest
from pipeline.workflow.run_context import new_context
from tests.market.fake_yahoo import FakeYahoo
from tests.market.rows import as_yahoo_exports
from tests.market.yahoo.clocks import QUICK
from tests.panels import TINY, changed

DELAY = timedelta(hours=2, minutes=30)
"""How long after the close the daily run starts."""
UPDATED_BEFORE = timedelta(minutes=30)
"""How long before the daily run the store is updated by itself, as by the deployments of prefect.yaml."""
START = date(2021, 1, 4)
EXPERIMENT = changed(
    TINY,
    source=YahooSource(start=START),
    tickers=("AAA", "BBB", "CCC", "DDD"),
    folds={"refit_months": 3, "validation_months": 3},
)


@dataclass
class World:
    """The prices of all days, of which Yahoo reports those up to `now`, and what it refuses today."""

    rows: dict[str, pd.DataFrame]
    fake: FakeYahoo
    now: datetime = datetime(2024, 1, 1, tzinfo=UTC)
    changes: dict[date, Callable[[dict[str, pd.DataFrame]], None]] = field(default_factory=dict)
    experiment: Experiment = EXPERIMENT

    def remote(self, source: YahooSource, cache_dir: Path, now: Callable[[], datetime]) -> RemoteSource:
        """The real client, by way of the fake, with the world's clock."""
        session = self.fake.session()
        return YahooClient(source.start, session, cache_dir, QUICK, Clock(now=now), np.random.default_rng(0))

    def report_until(self, day: np.datetime64) -> None:
        """Let Yahoo know the bars up to a day."""
        known = {name: rows[rows["session"] <= day].reset_index(drop=True) for name, rows in self.rows.items()}
        self.fake.play.frames = {name: reported(rows) for name, rows in known.items() if len(rows)}

    def run(self, model: str | None = None) -> DailyResult:
        """The daily run at the present hour."""
        context = new_context("daily", clock=lambda: self.now, remote=self.remote)
        return daily(context, self.experiment, DailyPlan(model))

    def update(self) -> IngestResult:
        """An update of the store by itself at the present hour."""
        context = new_context("ingest", clock=lambda: self.now, remote=self.remote)
        return ingest(context, self.experiment.tickers, None, self.experiment.source)

    def day(self, session: np.datetime64, delay: timedelta = DELAY, with_update: bool = False) -> DailyResult:
        """The daily run some time after the close of a session, half an hour after an update where there is one."""
        self.now = closed_at("XNYS", session) + delay
        self.report_until(session)
        if with_update:
            self.now -= UPDATED_BEFORE
            self.update()
            self.now += UPDATED_BEFORE
        return self.run()


def reported(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows as Yahoo reports them, of which only splits change earlier ones (split_adjusted is slow)."""
    factor = rows["split"].iloc[::-1].shift(fill_value=1.0).cumprod().iloc[::-1]  # of the splits after each session
    prices = {name: rows[name] / factor for name in ("open", "high", "low", "close", "dividend")}
    return as_yahoo_exports(rows.assign(**prices, volume=rows["volume"] * factor), adjust=False)


@contextmanager
def world_of(rows: Mapping[str, pd.DataFrame], folder: Path) -> Iterator[World]:
    """A world of rows, its fake Yahoo running."""
    with FakeYahoo({}, folder) as fake:
        yield World(dict(rows), fake)


def sessions_of(first: str, last: str) -> np.ndarray:
    return sessions_between("XNYS", np.datetime64(first), np.datetime64(last))
