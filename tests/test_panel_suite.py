"""The panel suite and the search on it: who may be read when, the truth of made markets, and what was committed."""

import hashlib
from datetime import date
from itertools import product

import numpy as np
import pandas as pd
import pytest

from pipeline.experiment import DEFAULTS_CHOSEN_ON, Experiment
from pipeline.forecasters.forecaster import LEVELS
from pipeline.market.bars import Bars
from pipeline.market.calendars import sessions_between
from pipeline.stages import folds_of, frames_of
from tests.benchmarks.defaults_search import BUDGET_HOURS, CHOSEN, STAGES, experiment_of, read_results
from tests.benchmarks.made_panels import AROUND_THE_CLOCK, JUMPS, ZERO_RETURNS, Process, made_market, true_quantiles
from tests.benchmarks.main_job import PANEL, large_bars
from tests.benchmarks.panels import PANELS, Panel, bars_of, job_of, parts_of, stopping_end

every_panel = pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel.name)


def sessions_of(panel: Panel, part: str) -> np.ndarray:
    calendar = panel.process.calendar if panel.process else "XNYS"
    first, last = parts_of(panel)[part]
    return sessions_between(calendar, np.datetime64(first), np.datetime64(last))


def test_no_session_validates_one_panel_and_tests_another() -> None:
    for one, other in product(PANELS, PANELS):
        shared = np.intersect1d(sessions_of(one, "validation"), sessions_of(other, "test"))
        assert not len(shared), (one.name, other.name)


@every_panel
def test_every_part_is_long_enough_and_ends_before_the_test_of_the_large_panel(panel: Panel) -> None:
    assert 400 <= len(sessions_of(panel, "train")) <= 3100
    assert len(sessions_of(panel, "validation")) >= 250
    assert len(sessions_of(panel, "test")) >= 250
    assert parts_of(panel)["test"][1] < date(2017, 1, 1)
    assert parts_of(panel)["validation"][1] <= DEFAULTS_CHOSEN_ON


def test_the_suite_has_its_sizes() -> None:
    assert len(PANELS) == len({panel.name for panel in PANELS}) == 16
    assert {panel.tickers for panel in PANELS} == {5, 20, 50, 100}
    assert {panel.process for panel in PANELS if panel.made} == {JUMPS, AROUND_THE_CLOCK, ZERO_RETURNS}
    assert sum(panel.of_sample for panel in PANELS) == 1


def test_the_search_is_complete_within_its_budget_and_chose_the_default() -> None:
    rows = read_results()
    done = {(row["candidate"], row["panel"]) for row in rows}
    wanted = {(it.name, panel) for stage in STAGES.values() for it in stage.candidates for panel in stage.panels}
    assert done == wanted
    assert len(rows) == len(done)
    assert sum(row["cpu_seconds"] for row in rows) <= BUDGET_HOURS * 3600
    chosen, default = experiment_of(CHOSEN), Experiment()
    assert (chosen.network, chosen.training, chosen.features) == (default.network, default.training, default.features)


def test_early_stopping_reads_the_first_sessions_of_a_validation_part_alone() -> None:
    panel = next(it for it in PANELS if it.made)
    assert panel.process is not None
    market = made_market(panel.process, 0, 1, panel.first, panel.valid_end)
    stop = np.datetime64(stopping_end(panel, market.bars))
    validation = sessions_of(panel, "validation")
    assert (validation <= stop).sum() == 125


def test_while_defaults_are_chosen_no_test_bar_is_read_and_what_is_judged_stops_no_training() -> None:
    panel = next(it for it in PANELS if it.made)
    nothing = Bars(pd.DataFrame(), (), "close")  # a made panel reads none of the large one
    for choosing, last, stop in ((True, panel.valid_end, 125), (False, panel.test_end, None)):
        job = job_of(panel, nothing, Experiment(), choosing)
        sessions = np.unique(job.bars.frame["session"].to_numpy("datetime64[D]"))
        assert sessions[-1] == sessions_of(panel, "validation" if choosing else "test")[-1] <= np.datetime64(last)
        frames = frames_of(job.bars, job.experiment)
        (fold,) = folds_of(frames, job.experiment)
        validation = sessions_of(panel, "validation")
        assert frames.sessions[fold.test.start] == (validation[stop] if stop else sessions_of(panel, "test")[0])
        assert frames.sessions[fold.validation.start] == validation[0]


def test_the_tickers_of_the_panels_stay_those_that_were_chosen_on() -> None:
    """They are drawn by the place of a panel in the list: another order draws others."""
    if not PANEL.exists():
        pytest.skip("the large panel is not here")
    large = large_bars()
    drawn = {panel.name: bars_of(panel, large).tickers for panel in PANELS if not panel.made and not panel.of_sample}
    digest = hashlib.sha256(repr(sorted((name, tuple(its)) for name, its in drawn.items())).encode()).hexdigest()
    assert digest[:16] == "1122004cc4b22e88"


@pytest.mark.parametrize("process", [JUMPS, AROUND_THE_CLOCK, ZERO_RETURNS], ids=["jumps", "clock", "zeros"])
def test_the_truth_of_a_made_market_is_right_in_calm_and_storm(process: Process) -> None:
    market = made_market(process, 3, 20, "2000-01-01", "2009-12-31")
    truth = true_quantiles(process, market.variance, market.sessions, 5)
    close = market.bars.frame.pivot_table(index="ticker", columns="session", values="close").to_numpy()
    log_close = np.log(close)
    fifth = np.searchsorted(np.quantile(market.variance, (0.2, 0.4, 0.6, 0.8)), market.variance)
    for h, of_all, of_fifth in ((1, 0.015, 0.03), (5, 0.03, 0.06)):  # tickers move together, and outcomes overlap
        outcome = log_close[:, h:] - log_close[:, :-h]
        strictly, below = (compare(outcome[..., None], truth[:, :-h, h - 1]) for compare in (np.less, np.less_equal))
        for rows, off in ((fifth[:, :-h] >= 0, of_all), *((fifth[:, :-h] == k, of_fifth) for k in range(5))):
            # An outcome may equal a quantile, where nothing is traded: the level lies between the two shares.
            assert (strictly[rows].mean(axis=0) <= np.array(LEVELS) + off).all(), (h, off)
            assert (below[rows].mean(axis=0) >= np.array(LEVELS) - off).all(), (h, off)
