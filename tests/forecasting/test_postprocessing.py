"""What is combined and calibrated: day by day the same as in a backtest, without look-ahead, whoever is published."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from pipeline.dataset.folds import Fold, FoldSpec
from pipeline.dataset.frames import Frames
from pipeline.errors import FitError
from pipeline.forecasters.forecaster import MEDIAN
from pipeline.forecasting.backtest import build_backtest
from pipeline.forecasting.calibration_state import AWAITED as CALIBRATION_AWAITED
from pipeline.forecasting.calibration_state import LEARNED as CALIBRATION_LEARNED
from pipeline.forecasting.calibration_state import CalibrationState, new_calibration
from pipeline.forecasting.combination import combined
from pipeline.forecasting.combination_state import AWAITED, LEARNED, new_combination
from pipeline.forecasting.forecasts import CALIBRATED, COMBINED, NETWORK, fits_of, forecasts_by_forecaster
from pipeline.forecasting.live import LiveForecasts, live_forecasts
from pipeline.forecasting.postprocessing import (
    Postprocessing,
    before,
    silent_until,
)
from pipeline.forecasting.postprocessing_state import (
    PostprocessingState,
    state_as_arrays,
    state_digest,
    state_from_arrays,
)
from pipeline.forecasting.span import Origins, outcomes_known_at
from pipeline.forecasting.specification import CalibrationSpec, PostprocessingSpec
from pipeline.training.jobs import FitResult
from tests.panels import TINY, changed, fit_jobs, frames_from, jobs_for, random_market

SPEC = PostprocessingSpec(calibration=CalibrationSpec())
EVENING = datetime(2024, 1, 1, tzinfo=UTC)
DAYS = 60
MEMBERS = ("network", "climatology", "ewma")
KINDS = (*MEMBERS[:2], "last_close", "ewma")
Ready = tuple[Frames, tuple[Fold, ...], list[FitResult]]


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Ready:
    experiment = changed(TINY, horizons=3)
    frames = frames_from(random_market(700, 4), experiment)
    jobs, folds = jobs_for(frames, experiment, kinds=KINDS, folds=slice(-2, None))
    assert len(folds[-1].test) > DAYS + 20
    return frames, folds, fit_jobs(jobs, frames, Path(tmp_path_factory.mktemp("state")))


def rule_until(ready: Ready, stop: int) -> Postprocessing:
    """What a live forecast goes on with after a backtest of the last fold up to a session."""
    frames, folds, results = ready
    fold = replace(folds[-1], test=replace(folds[-1].test, stop=stop))
    rule = build_backtest(results, [fold], frames.until(stop), SPEC).postprocessing
    assert rule is not None
    return rule


def state_of(rule: Postprocessing) -> PostprocessingState:
    assert rule.state is not None
    return rule.state


def calibration_of(state: PostprocessingState | None) -> CalibrationState:
    assert state is not None
    assert state.calibration is not None
    return state.calibration


def made_live(ready: Ready, frames: Frames, rule: Postprocessing) -> LiveForecasts:
    _, folds, results = ready
    return live_forecasts(fits_of(results, folds[-1]), frames, "XNYS", EVENING, rule)


def assert_close(one: PostprocessingState, two: PostprocessingState) -> None:
    """The states agree but for forecasts that were read in windows of another length."""
    assert one.session == two.session
    assert one.combination.count == two.combination.count
    for name in (*LEARNED, *AWAITED):
        mine, other = getattr(one.combination, name), getattr(two.combination, name)
        np.testing.assert_allclose(mine, other, rtol=1e-3, atol=1e-6, err_msg=name)
    for name in CALIBRATION_LEARNED:
        mine, other = getattr(calibration_of(one), name), getattr(calibration_of(two), name)
        if name in ("agreement", "size"):  # sums of the medians themselves
            np.testing.assert_allclose(mine, other, rtol=1e-3, atol=1e-6, err_msg=name)
        else:
            assert mine.tobytes() == other.tobytes(), name
    for name in CALIBRATION_AWAITED:
        mine, other = getattr(calibration_of(one), name), getattr(calibration_of(two), name)
        np.testing.assert_allclose(mine, other, atol=1e-6, err_msg=name)


def test_sixty_days_one_by_one_are_the_backtest_of_those_days(ready: Ready) -> None:
    frames, folds, results = ready
    stop = folds[-1].test.stop
    rule = rule_until(ready, stop - DAYS)
    for day in range(stop - DAYS + 1, stop + 1):  # an evening each: nothing later exists
        live = made_live(ready, frames.until(day), rule)
        assert live.state is not None
        fold = replace(folds[-1], test=replace(folds[-1].test, stop=day))
        whole = build_backtest(results, [fold], frames.until(day), SPEC)
        assert whole.postprocessing is not None
        assert_close(live.state, state_of(whole.postprocessing))
        for name in (COMBINED, CALIBRATED):
            ours = live.log_quantiles[(live.rows["forecaster"] == name).to_numpy()].reshape(-1, 3, 7)
            np.testing.assert_allclose(ours, whole.quantiles[name][:, -1], atol=1e-6)
        assert live.weights is not None
        assert whole.weights is not None
        assert live.weights.sessions == frames.sessions[day - 1]
        np.testing.assert_allclose(live.weights.by_session, whole.weights.last.by_session, atol=1e-5)
        rule = replace(rule, state=live.state)
    for name in CALIBRATION_LEARNED:
        start = getattr(new_calibration(frames.tickers, frames.horizons), name)
        assert (getattr(calibration_of(live.state), name) != start).any(), name
    assert np.ptp(live.weights.by_session, axis=-1).max() > 0.05


def test_several_days_at_once_are_those_days_one_by_one(ready: Ready) -> None:
    frames, folds, _ = ready
    start = folds[-1].test.stop - 20
    rule = rule_until(ready, start)
    at_once = made_live(ready, frames.until(start + 15), rule).state
    for day in range(start + 1, start + 16):
        rule = replace(rule, state=made_live(ready, frames.until(day), rule).state)
    assert at_once is not None
    assert_close(at_once, state_of(rule))


def test_a_ticker_that_is_absent_for_a_day_keeps_what_it_waits_for(ready: Ready) -> None:
    frames, folds, _ = ready
    start = folds[-1].test.stop - 20
    first = state_of(rule_until(ready, start))
    state = made_live(ready, frames.until(start + 1).of(frames.tickers[1:]), rule_until(ready, start)).state
    absent = state.combination.tickers.index(frames.tickers[0])
    np.testing.assert_array_equal(calibration_of(state).pending[absent, 1], calibration_of(first).pending[0, 0])
    assert np.isnan(calibration_of(state).pending[absent, 0]).all()
    for name in AWAITED:
        now, then = getattr(state.combination, name), getattr(first.combination, name)
        np.testing.assert_array_equal(now[1][..., absent], then[0][..., 0])
    assert (state.combination.unit[0, :, absent] == 0).all()
    back = made_live(ready, frames.until(start + 2), replace(rule_until(ready, start), state=state)).state
    assert back.combination.tickers == frames.tickers
    np.testing.assert_array_equal(back.combination.combined[2][..., 0], first.combination.combined[0][..., 0])


def test_a_stale_ticker_has_what_was_issued_on_its_last_day(ready: Ready) -> None:
    frames, folds, _ = ready
    start = folds[-1].test.stop - 20
    usable = np.array(frames.usable)
    usable[0, start:] = False
    rule = rule_until(ready, start)
    live = made_live(ready, replace(frames, usable=usable).until(start + 1), rule)
    issued = {
        CALIBRATED: calibration_of(state_of(rule)).pending[0, 0],
        COMBINED: state_of(rule).combination.issued[0, 0],
    }
    for name, expected in issued.items():
        of_stale = ((live.rows["ticker"] == frames.tickers[0]) & (live.rows["forecaster"] == name)).to_numpy()
        assert set(live.rows["as_of"][of_stale]) == {frames.sessions[start - 1]}
        np.testing.assert_array_equal(live.log_quantiles[of_stale], expected)


def without_last_bar(frames: Frames, at: int) -> Frames:
    """Return frames up to a session (included) at which the first ticker's bar has not come."""
    usable, volatility, relative = (
        np.array(values) for values in (frames.usable, frames.volatility, frames.relative_volatility)
    )
    usable[0, at], volatility[0, at], relative[0, at] = False, np.nan, np.nan
    return replace(frames, usable=usable, volatility=volatility, relative_volatility=relative).until(at + 1)


def test_a_bar_that_comes_late_is_forecast_alike_and_nothing_is_learned_of_it(ready: Ready) -> None:
    frames, folds, _ = ready
    start = folds[-1].test.stop - 20
    rule = rule_until(ready, start)
    early = made_live(ready, without_last_bar(frames, start), rule).state
    assert early is not None
    assert np.isnan(early.combination.combined[0][..., 0]).all()
    late = made_live(ready, frames.until(start + 1), replace(rule, state=early)).state
    assert late is not None
    on_time = made_live(ready, frames.until(start + 1), rule).state
    assert on_time is not None
    np.testing.assert_allclose(late.combination.issued[0, 0], on_time.combination.issued[0, 0], atol=2e-4)
    assert np.isfinite(calibration_of(late).pending[0, 0]).all()
    assert (late.combination.unit[0, :, 0] == 0).all()
    np.testing.assert_array_equal(late.combination.combined[0][..., 1:], early.combination.combined[0][..., 1:])
    np.testing.assert_array_equal(late.combination.away, early.combination.away)
    assert late.session == early.session
    for name in CALIBRATION_AWAITED:  # the closes after it are as if it had come in time
        np.testing.assert_allclose(*(getattr(calibration_of(it), name) for it in (late, on_time)), atol=2e-4)
    for more in (2, 3):
        late, on_time = (
            made_live(ready, frames.until(start + more), replace(rule, state=it)).state for it in (late, on_time)
        )
        assert late is not None
        assert on_time is not None
        for name in (*CALIBRATION_LEARNED, *CALIBRATION_AWAITED):
            found, expected = (getattr(calibration_of(it), name) for it in (late, on_time))
            assert np.isfinite(found[:, 0]).all() if name in CALIBRATION_AWAITED else np.isfinite(found).all()
            np.testing.assert_allclose(found, expected, atol=2e-3)


def test_the_folds_are_one_walk_from_the_first_validation_range_on(ready: Ready) -> None:
    frames, folds, results = ready
    first, second = folds
    backtest = build_backtest(results, folds, frames, SPEC)
    parts = (
        (first, slice(first.validation.start, first.test.start)),
        (first, slice(first.test.start, first.test.stop)),
        (second, slice(second.test.start, second.test.stop)),
    )
    for members, found in ((MEMBERS, backtest.quantiles[COMBINED]), (MEMBERS[1:], backtest.without_network)):
        state, quantiles, weights = new_combination(members, frames.tickers, frames.horizons), [], []
        for fold, span in parts:
            fits = fits_of(results, fold)
            trained_on = np.isin(frames.tickers, fits[0].tickers)  # a young one comes in the second fold
            outcome = np.where(trained_on[:, None, None], frames.future_return, np.float32(np.nan))
            known = outcomes_known_at(outcome, span)
            volatility, relative = frames.volatility[:, span], frames.relative_volatility[:, span]
            origins = Origins(frames.sessions[span], known, volatility, relative, trained_on)
            made = combined(state, origins, forecasts_by_forecaster(fits, frames, span))
            state = made.state
            quantiles.append(made.quantiles)
            weights.append(made.weights)
        assert found is not None
        np.testing.assert_array_equal(found, np.concatenate(quantiles[1:], axis=1))
        if members == MEMBERS:
            assert backtest.weights is not None
            np.testing.assert_array_equal(backtest.weights.by_session, np.concatenate(weights[1:]))


def test_the_network_may_be_published_instead(ready: Ready) -> None:
    frames, folds, results = ready
    of_combination = build_backtest(results, folds, frames, SPEC)
    of_network = build_backtest(results, folds, frames, replace(SPEC, publish=NETWORK))
    assert (of_combination.base, of_combination.published) == (COMBINED, CALIBRATED)
    assert (of_network.base, of_network.published) == (NETWORK, CALIBRATED)
    assert of_combination.opponents == KINDS
    assert of_network.opponents == KINDS[1:]
    np.testing.assert_array_equal(of_combination.quantiles[COMBINED], of_network.quantiles[COMBINED])
    for backtest, other in ((of_network, COMBINED), (of_combination, NETWORK)):
        # The median is that of the base, shrunk by a factor that all tickers share.
        found = backtest.quantiles[CALIBRATED][..., MEDIAN]
        spread = [np.nanstd(found / backtest.quantiles[name][..., MEDIAN], axis=0) for name in (backtest.base, other)]
        assert np.nanmedian(spread[0]) < 1e-5
        assert np.nanmedian(spread[1]) > 1e-2
    plain = build_backtest(results, folds, frames, PostprocessingSpec())
    assert plain.published == COMBINED
    assert CALIBRATED not in plain.quantiles


@pytest.mark.parametrize("method", ["adaptive", "split"])
def test_no_outcome_of_later_moves_a_forecast_or_a_weight(method: str, tmp_path: Path) -> None:
    experiment = changed(TINY, folds=FoldSpec(refit_months=9, validation_months=3, calibration_months=3))
    frames = frames_from(random_market(700, 3), experiment)
    jobs, (fold,) = jobs_for(frames, experiment, kinds=KINDS, folds=slice(-1, None))
    results = fit_jobs(jobs, frames, tmp_path)
    spec = PostprocessingSpec(calibration=CalibrationSpec.model_validate({"method": method}))
    at = fold.test.start + 40  # the origin that is forecast
    known_at = np.arange(len(frames.sessions))[:, None] + np.arange(1, frames.horizons + 1)
    garbage = np.random.default_rng(0).normal(0, 3, frames.future_return.shape).astype(np.float32)
    other = replace(frames, future_return=np.where(known_at > at, garbage, frames.future_return))
    one, two = (build_backtest(results, [fold], some_frames, spec) for some_frames in (frames, other))
    shown = slice(0, 41)
    for name in (COMBINED, CALIBRATED):
        assert one.quantiles[name][:, shown].tobytes() == two.quantiles[name][:, shown].tobytes()
        assert one.quantiles[name].tobytes() != two.quantiles[name].tobytes()
    assert one.weights is not None
    assert two.weights is not None
    assert one.weights.by_session[shown].tobytes() == two.weights.by_session[shown].tobytes()
    assert one.weights.by_session.tobytes() != two.weights.by_session.tobytes()


def test_a_ticker_that_was_not_trained_on_teaches_nothing(ready: Ready) -> None:
    frames, folds, results = ready
    known = [replace_tickers(result, frames.tickers[:3]) for result in results]
    whole = build_backtest(known, folds[-1:], frames, SPEC)
    few = build_backtest(known, folds[-1:], frames.of(frames.tickers[:3]), SPEC)
    for name in (COMBINED, CALIBRATED):
        np.testing.assert_allclose(whole.quantiles[name][:3], few.quantiles[name], atol=1e-7)
        assert np.isfinite(whole.quantiles[name][3]).any()


def replace_tickers(result: FitResult, tickers: tuple[str, ...]) -> FitResult:
    assert result.fitted is not None
    if result.job.forecaster.kind != NETWORK:
        return result
    return replace(result, fitted=replace(result.fitted, tickers=tickers))


def test_a_fold_that_was_excluded_leaves_silent_sessions(ready: Ready) -> None:
    frames, folds, _ = ready
    start = folds[-1].test.stop - 20
    state = state_of(rule_until(ready, start))
    later = silent_until(state, SPEC, frames, [], start + 2)
    assert later.session == frames.sessions[start + 1] == calibration_of(later).session
    assert np.isnan(calibration_of(later).pending[:, :2]).all()
    np.testing.assert_array_equal(calibration_of(later).pending[:, 2], calibration_of(state).pending[:, 0])
    assert calibration_of(later).scale.tobytes() != calibration_of(state).scale.tobytes()
    np.testing.assert_array_equal(later.combination.away[2], state.combination.away[0])
    assert later.combination.regret.tobytes() != state.combination.regret.tobytes()
    assert later.combination.count == state.combination.count + 2
    assert silent_until(later, SPEC, frames, [], start) is later


def test_sessions_between_two_folds_are_followed_too(ready: Ready) -> None:
    frames, folds, results = ready
    later = replace(folds[1], test=replace(folds[1].test, start=folds[1].test.start + 8))
    whole, gap = (build_backtest(results, it, frames, SPEC).postprocessing for it in (folds, (folds[0], later)))
    assert whole is not None
    assert gap is not None
    assert state_of(gap).combination.count == state_of(whole).combination.count
    assert state_of(gap).session == state_of(whole).session
    assert state_of(gap).combination.regret.tobytes() != state_of(whole).combination.regret.tobytes()


def test_a_ticker_that_was_not_trained_on_teaches_nothing_between_two_folds_either(ready: Ready) -> None:
    frames, folds, results = ready
    narrow = [replace_tickers(it, frames.tickers[:1]) for it in results]
    later = replace(folds[1], test=replace(folds[1].test, start=folds[1].test.start + 8))
    other = np.array(frames.future_return)
    other[1:] *= 3
    first, second = (
        state_of(build_backtest(narrow, (folds[0], later), it, SPEC).postprocessing)
        for it in (frames, replace(frames, future_return=other))
    )
    for name in CALIBRATION_LEARNED:
        assert getattr(calibration_of(first), name).tobytes() == getattr(calibration_of(second), name).tobytes()
    assert first.combination.regret.tobytes() == second.combination.regret.tobytes()


def test_no_later_fold_decides_who_is_combined_on_an_earlier_one(ready: Ready) -> None:
    frames, folds, results = ready
    broken = [
        replace(it, fitted=None, error="nothing to learn from", refused=True)
        if (it.job.forecaster.kind, it.job.fold.name) == ("ewma", folds[1].name)
        else it
        for it in results
    ]
    whole, partly = (build_backtest(it, folds, frames, SPEC) for it in (results, broken))
    first = whole.fold_of_origin == 0
    for name in (COMBINED, CALIBRATED):
        assert whole.quantiles[name][:, first].tobytes() == partly.quantiles[name][:, first].tobytes()
        assert whole.quantiles[name][:, ~first].tobytes() != partly.quantiles[name][:, ~first].tobytes()
    assert "ewma" not in partly.quantiles  # it is compared nowhere
    assert partly.weights is not None
    ewma = partly.weights.members.index("ewma")
    assert (partly.weights.by_session[first][..., ewma] > 0).all()
    assert (partly.weights.by_session[~first][..., ewma] == 0).all()
    assert (partly.weights.answered[~first][..., ewma] == 0).all()


def test_no_state_that_has_seen_later_sessions_serves_an_earlier_forecast(ready: Ready) -> None:
    frames, folds, _ = ready
    start = folds[-1].test.stop - 20
    rule = rule_until(ready, start)
    assert before(rule, frames.sessions[start - 1]) is rule
    assert before(rule, frames.sessions[start - 2]).state is None


# --- The state ---


def test_a_state_comes_back_from_its_arrays_with_the_same_digest(ready: Ready) -> None:
    state = state_of(rule_until(ready, ready[1][-1].test.stop))
    stored = {name: array.copy() for name, array in state_as_arrays(state).items()}
    back = state_from_arrays(stored)
    assert state_digest(back) == state_digest(state)
    assert {n: a.tobytes() for n, a in state_as_arrays(back).items()} == {n: a.tobytes() for n, a in stored.items()}
    alone = replace(state, calibration=None)
    assert state_from_arrays(state_as_arrays(alone)).calibration is None
    changed_state = replace(state, combination=replace(state.combination, count=state.combination.count + 1))
    assert len({state_digest(it) for it in (state, alone, changed_state)}) == 3


def test_arrays_of_something_else_are_no_state(ready: Ready) -> None:
    state = state_of(rule_until(ready, ready[1][-1].test.stop))
    arrays = state_as_arrays(state)
    with pytest.raises(FitError, match=r"no combination state.*publish the model again"):
        state_from_arrays({name: array for name, array in arrays.items() if name != "combination/regret"})
    with pytest.raises(FitError, match=r"combination state of shapes .*expected"):
        state_from_arrays({**arrays, "combination/unit": arrays["combination/unit"][:1]})
    with pytest.raises(FitError, match=r"no calibration state"):
        state_from_arrays({name: array for name, array in arrays.items() if name != "calibration/level"})
    with pytest.raises(FitError, match=r"combination of 20.* with a calibration of 20.*one session"):
        state_from_arrays({**arrays, "calibration/session": arrays["calibration/session"] - 1})


def test_members_may_come_and_go_and_keep_what_was_learned(ready: Ready) -> None:
    state = state_of(rule_until(ready, ready[1][-1].test.stop)).combination
    changed_state = state.of(state.tickers, ("ewma", "new", "network"))
    for name in LEARNED:
        before_, now = getattr(state, name), getattr(changed_state, name)
        np.testing.assert_array_equal(now[..., [0, 2]], before_[..., [2, 0]])
    np.testing.assert_array_equal(changed_state.away[..., [0, 2], :], state.away[..., [2, 0], :])
    assert (changed_state.away[..., 1, :] == 0).all()
    assert changed_state.count == state.count
    assert state.of(state.tickers, state.forecasters) is state
