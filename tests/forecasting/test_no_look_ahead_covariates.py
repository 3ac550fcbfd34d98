"""No look-ahead through the whole pipeline with covariates: what a file says after an origin changes no bit before it.

An exogenous series is spoilt from the first second after the origin's close, one known in advance from the day after
the origin's last target; both together with the bars.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest

from pipeline.dataset.covariates.from_files import FileCovariates
from pipeline.dataset.covariates.known_future import KnownFutureCovariate, target_sessions
from pipeline.dataset.covariates.past import PastCovariate
from pipeline.dataset.covariates.sectors import Sectors
from pipeline.dataset.frames import Frames, save_frames
from pipeline.experiment import Experiment
from pipeline.forecasting.backtest import build_backtest
from pipeline.market.calendars import closed_at, next_sessions
from pipeline.stages import folds_of, frames_of, jobs_of
from pipeline.training.cache import FitCache
from pipeline.training.schedule import fit_all, raise_failures
from tests.forecasting.test_no_look_ahead import garbage_after, truncated
from tests.panels import LAST_DAY, TINY, Rows, bars_of, changed, random_market, sessions_to

EXPERIMENT: Experiment = changed(
    TINY,
    features=("log_return", "log_range"),
    sectors=Path("sectors.csv"),
    index="T0",
    calendar_covariates=("day_of_week", "month_end", "days_since_previous", "days_to_next", "half_day"),
    covariates=(
        {"name": "vix", "path": "vix.csv", "column": "close", "publication_lag_days": 0},
        {"name": "fed", "path": "fed.csv", "column": "meets", "known_in_advance": True},
    ),
)
FAST = ("network", "ewma")
Forecasts = dict[tuple[str, np.datetime64], np.ndarray]


@cache
def market() -> Rows:
    return random_market(700, 4)


@cache
def files() -> FileCovariates:
    sessions = sessions_to(LAST_DAY, 700)
    days = np.arange(sessions[0] - 10, LAST_DAY + 2)
    draws = np.random.default_rng(2)
    ahead = np.append(sessions, next_sessions("XNYS", LAST_DAY, TINY.horizons))
    # a value per day, in winter one second after the close of New York
    known_from = days.astype("datetime64[s]") + np.timedelta64(21 * 3600 + 1, "s")
    return FileCovariates(
        sectors=Sectors("sectors.csv", {"T0": "tech", "T1": "tech", "T2": "banks"}),
        past=(PastCovariate("vix", known_from, draws.normal(15, 2, len(days)), True, 14.0, "vix.csv"),),
        known_future=(KnownFutureCovariate("fed", ahead, draws.normal(0, 1, len(ahead)), "fed.csv"),),
    )


def spoilt(file_covariates: FileCovariates, origin: np.datetime64) -> FileCovariates:
    """The files with other values wherever an origin could not yet know them."""
    (past,), (known,) = file_covariates.past, file_covariates.known_future
    close = np.datetime64(closed_at("XNYS", origin).replace(tzinfo=None), "s")
    last_target = target_sessions("XNYS", np.array([origin]), TINY.horizons)[0, -1]
    wild = np.random.default_rng(8).uniform(-1e3, 1e3, len(past.values) + len(known.values))
    later = np.where(past.known_from > close, wild[: len(past.values)], past.values)
    beyond = np.where(known.days > last_target, wild[-len(known.values) :], known.values)
    return replace(file_covariates, past=(replace(past, values=later),), known_future=(replace(known, values=beyond),))


def frames_and_forecasts(rows: Rows, file_covariates: FileCovariates, until: np.datetime64) -> tuple[Frames, Forecasts]:
    """The frames, and every forecast [ticker, horizon, level] of the folds that test before `until`."""
    bars = bars_of(rows, "actions", EXPERIMENT.minimum_sessions, has_actions=True)
    frames = frames_of(bars, EXPERIMENT, file_covariates=file_covariates)
    folds = tuple(fold for fold in folds_of(frames, EXPERIMENT) if fold.test.first <= until)
    jobs = list(jobs_of(frames, folds, EXPERIMENT, "cpu", FAST))
    with TemporaryDirectory() as folder:
        save_frames(frames, Path(folder) / "frames")
        results = list(fit_all(jobs, Path(folder) / "frames", FitCache(Path(folder) / "kept"), 1))
    raise_failures(results)
    backtest = build_backtest(results, folds, frames)
    return frames, {
        (name, session): values[:, place]
        for name, values in backtest.quantiles.items()
        for place, session in enumerate(backtest.sessions)
    }


@cache
def whole() -> tuple[Frames, Forecasts]:
    return frames_and_forecasts(market(), files(), LAST_DAY)


def origins() -> tuple[np.datetime64, ...]:
    """Two tested origins in winter, whose close comes one second before the series' value of the day."""
    tested = sorted({session for _, session in whole()[1]})
    winter = [session for session in tested if session.astype("datetime64[M]").astype(int) % 12 in (0, 1, 11)]
    return winter[5], winter[-10]


def differing(before: Forecasts, after: Forecasts, chosen: Callable[[np.datetime64], bool]) -> list[tuple[str, object]]:
    keys = [key for key in before if chosen(key[1])]
    assert keys
    assert all(np.isfinite(before[key]).any() for key in keys)
    return [key for key in keys if before[key].tobytes() != after[key].tobytes()]


def changed_by(origin: np.datetime64, before: tuple[Frames, Forecasts], after: tuple[Frames, Forecasts]) -> list[str]:
    """What of the frames and forecasts at or before the origin is not the same to the bit."""
    (known, values_before), (known_after, values_after) = before, after
    stop = int(np.searchsorted(known.sessions, origin)) + 1
    parts = [
        name
        for name in ("features", "known_future")
        if np.ascontiguousarray(getattr(known.until(stop), name)).tobytes()
        != np.ascontiguousarray(getattr(known_after.until(stop), name)).tobytes()
    ]
    return parts + sorted({key[0] for key in differing(values_before, values_after, lambda session: session <= origin)})


@pytest.mark.parametrize("place", [0, 1])
def test_what_files_and_bars_say_after_an_origin_changes_no_bit_at_or_before_it(place: int) -> None:
    origin = origins()[place]
    frames, forecasts = frames_and_forecasts(garbage_after(market(), origin), spoilt(files(), origin), LAST_DAY)
    assert changed_by(origin, whole(), (frames, forecasts)) == []
    stop = int(np.searchsorted(frames.sessions, origin)) + 1
    before = whole()[0]
    assert (frames.known_future[stop + 2 :, :, -1] != before.known_future[stop + 2 :, :, -1]).any(axis=1).all()
    vix = frames.feature_names.index("vix")
    assert (frames.features[0, stop:, vix] != before.features[0, stop:, vix]).all()


def test_the_garbage_of_the_files_alone_reaches_later_forecasts_of_the_network_and_of_no_baseline() -> None:
    origin = origins()[0]
    after = frames_and_forecasts(market(), spoilt(files(), origin), LAST_DAY)
    assert changed_by(origin, whole(), after) == []
    later = {key[0] for key in differing(whole()[1], after[1], lambda session: session > origin)}
    assert later == {"network"}


def test_a_history_that_ends_at_the_origin_says_the_same() -> None:
    origin = origins()[1]
    frames, forecasts = frames_and_forecasts(truncated(market(), origin), files(), origin)
    before, informed = whole()
    assert frames.known_future.tobytes() == np.ascontiguousarray(before.known_future[: len(frames.sessions)]).tobytes()
    here = [key for key in informed if key[1] <= origin]
    assert here == list(forecasts)
    assert max(float(np.nanmax(np.abs(informed[key] - forecasts[key]))) for key in here) <= 1e-6


def a_second_early(file_covariates: FileCovariates) -> FileCovariates:
    """The leak of a publication lag: values are read one second before they are known."""
    (past,) = file_covariates.past
    return replace(file_covariates, past=(replace(past, known_from=past.known_from - np.timedelta64(1, "s")),))


def a_session_late(file_covariates: FileCovariates) -> FileCovariates:
    """The leak of an off-by-one: at each target session the value of the next one is read."""
    (known,) = file_covariates.known_future
    return replace(file_covariates, known_future=(replace(known, values=np.append(known.values[1:], 0.0)),))


@pytest.mark.parametrize(("leak", "part"), [(a_second_early, "features"), (a_session_late, "known_future")])
def test_the_same_check_catches_a_leak(leak: Callable[[FileCovariates], FileCovariates], part: str) -> None:
    origin = origins()[0]
    before, after = (
        frames_and_forecasts(market(), leak(file_covariates), origin)
        for file_covariates in (files(), spoilt(files(), origin))
    )
    found = changed_by(origin, before, after)
    assert part in found
    if part == "features":
        assert "network" in found
