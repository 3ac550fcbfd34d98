"""The panel suite: sixteen panels by name, on which defaults are chosen by validation parts and judged by test parts.

Every panel is trained, validated and tested in sessions of its own era. The validation parts of all panels lie in other
calendar sessions than the test parts of all panels, and none reaches the years 2017 to 2021, in which the large panel
is tested. Those of stocks are drawn from the large panel; FB, one of the five of the bundled sample, was listed too
late to be trained on.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np

from pipeline.dataset.folds import FoldSpec
from pipeline.experiment import Experiment
from pipeline.market.bars import Bars
from tests.benchmarks.cuts import Job, between, sample_bars
from tests.benchmarks.made_panels import (
    AROUND_THE_CLOCK,
    JUMPS,
    ZERO_RETURNS,
    Market,
    Process,
    made_market,
    true_quantiles,
)

STOPPING_SESSIONS = 125
"""While defaults are chosen, the first sessions of a validation part are for early stopping, the others are judged."""


@dataclass(frozen=True)
class Panel:
    """A panel: how many tickers of what, and its days: the first, and the last of training, validation and test."""

    name: str
    tickers: int
    first: str
    train_end: str
    valid_end: str
    test_end: str
    process: Process | None = None
    of_sample: bool = False

    @property
    def made(self) -> bool:
        return self.process is not None


PANELS = (
    #     name                          tickers  first         train_end     valid_end     test_end
    Panel("5 tickers, 2002", 5, "1999-11-01", "2001-06-15", "2002-06-28", "2003-06-30"),
    Panel("20 tickers, 2002", 20, "1999-11-01", "2001-06-15", "2002-06-28", "2003-06-30"),
    Panel("20 tickers, 2005", 20, "2001-02-01", "2003-06-30", "2004-12-31", "2006-06-30"),
    Panel("50 tickers, 2005", 50, "1999-11-01", "2003-06-30", "2004-12-31", "2006-06-30"),
    Panel("5 tickers, 2008", 5, "2002-07-01", "2006-06-30", "2007-12-31", "2009-06-30"),
    Panel("50 tickers, 2008", 50, "2004-02-02", "2006-06-30", "2007-12-31", "2009-06-30"),
    Panel("100 tickers, 2008", 100, "1999-11-01", "2006-06-30", "2007-12-31", "2009-06-30"),
    Panel("sample, 2011", 5, "2000-03-01", "2009-06-30", "2010-12-31", "2012-06-29", of_sample=True),
    Panel("20 tickers, 2011", 20, "2001-07-02", "2009-06-30", "2010-12-31", "2012-06-29"),
    Panel("50 tickers, 2011", 50, "2007-11-26", "2009-06-30", "2010-12-31", "2012-06-29"),
    Panel("5 tickers, 2014", 5, "2010-02-01", "2012-06-29", "2013-12-31", "2014-12-31"),
    Panel("20 tickers, 2014", 20, "2008-07-01", "2012-06-29", "2013-12-31", "2014-12-31"),
    Panel("100 tickers, 2014", 100, "2000-07-24", "2012-06-29", "2013-12-31", "2014-12-31"),
    Panel("jumps", 20, "1999-11-01", "2003-06-30", "2004-12-31", "2006-06-30", JUMPS),
    Panel("around the clock", 5, "2002-07-01", "2006-06-30", "2007-12-31", "2009-06-30", AROUND_THE_CLOCK),
    Panel("many zero returns", 50, "2007-02-01", "2009-06-30", "2010-12-31", "2012-06-29", ZERO_RETURNS),
)


def job_of(panel: Panel, large: Bars, experiment: Experiment, choosing: bool) -> Job:
    """Return a panel's bars and the experiment on them: its test part, or what is judged while defaults are chosen.

    Without `choosing` the fold is the panel's own. With it no bar after the validation part is read: the fold stops on
    STOPPING_SESSIONS and is tested on the sessions after them.
    """
    last = panel.valid_end if choosing else panel.test_end
    bars = between(bars_of(panel, large), np.datetime64(panel.first), np.datetime64(last))
    stop = stopping_end(panel, bars) if choosing else panel.valid_end
    folds = FoldSpec(train_end=date.fromisoformat(panel.train_end), valid_end=date.fromisoformat(stop))
    return Job(panel.name, bars, experiment.model_copy(update={"folds": folds}))


def bars_of(panel: Panel, large: Bars) -> Bars:
    """Return the bars of a panel, of all its tickers' sessions."""
    if panel.process:
        return market_of(panel).bars
    if panel.of_sample:
        return sample_bars()
    draws = np.random.default_rng((15, PANELS.index(panel)))
    tickers = draws.choice(large.tickers, panel.tickers, replace=False).tolist()
    return between(large, np.datetime64(panel.first), np.datetime64(panel.test_end), tickers)


def market_of(panel: Panel) -> Market:
    """Return a made panel's market."""
    if panel.process is None:
        raise ValueError(f"{panel.name} is not made")
    return made_market(panel.process, PANELS.index(panel), panel.tickers, panel.first, panel.test_end)


def truth_of(panel: Panel, horizons: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the sessions of a made panel and its true quantiles [ticker, session, horizon, level] after them."""
    market = market_of(panel)
    if panel.process is None:
        raise ValueError(f"{panel.name} is not made")
    return market.sessions, true_quantiles(panel.process, market.variance, market.sessions, horizons)


def stopping_end(panel: Panel, bars: Bars) -> str:
    """Return the last day of the sessions that early stopping reads while defaults are chosen."""
    sessions = np.unique(bars.frame["session"].to_numpy().astype("datetime64[D]"))
    after = sessions[sessions > np.datetime64(panel.train_end)]
    return str(after[STOPPING_SESSIONS - 1])


def parts_of(panel: Panel) -> Mapping[str, tuple[date, date]]:
    """Return the first and the last day of each part."""
    ends = [date.fromisoformat(day) for day in (panel.train_end, panel.valid_end, panel.test_end)]
    begins = [date.fromisoformat(panel.first), *(end + timedelta(days=1) for end in ends[:-1])]
    return dict(zip(("train", "validation", "test"), zip(begins, ends, strict=True), strict=True))
