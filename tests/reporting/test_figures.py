import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.evaluation.calibration.measures import reliability
from pipeline.forecasters.forecaster import LEVELS
from pipeline.forecasting.forecasts import NETWORK
from pipeline.operation.result import CalendarResult
from pipeline.reporting.calibration_figures import coverage_by_quarter, draw_coverage, draw_reliability
from pipeline.reporting.fans import draw_fan, draw_sheet, fans, recent_closes
from pipeline.reporting.figures import MAX_SINGLE_FANS, draw_figures, fan_name, sheets_of_fans
from pipeline.reporting.training_section import network_fits

from .outcomes import HORIZONS, only_backtest, only_forecast, small_frames, small_outcome

PNG = b"\x89PNG\r\n\x1a\n"
BACKTEST = {"skill.png", "reliability.png", "coverage.png", "pit.png", "equity.png"}
LOSSES = {"loss_latest_fold.png", "loss_by_fold.png"}


@pytest.fixture(scope="module")
def outcome() -> CalendarResult:
    return small_outcome()


def test_every_figure_is_a_png_without_a_note_of_when_or_by_what(outcome: CalendarResult) -> None:
    figures = draw_figures(outcome)
    assert set(figures) == {"fan_AAA.png", "fan_BBB.png"} | BACKTEST | LOSSES
    for png in figures.values():
        assert png.startswith(PNG)
        assert b"tEXt" not in png
        assert b"tIME" not in png


def test_same_outcome_same_bytes() -> None:
    assert draw_figures(small_outcome()) == draw_figures(small_outcome())


def test_only_what_there_is_to_show_is_drawn(outcome: CalendarResult) -> None:
    assert set(draw_figures(only_forecast(outcome))) == {"fan_AAA.png", "fan_BBB.png"}
    assert set(draw_figures(only_backtest(outcome))) == BACKTEST | LOSSES
    one_fold = replace(only_backtest(outcome), folds=outcome.folds[:1])
    assert set(draw_figures(one_fold)) == BACKTEST | {"loss_latest_fold.png"}
    no_looks = tuple(replace(result, fitted=replace(result.fitted, checks=())) for result in outcome.results)
    assert set(draw_figures(replace(only_backtest(outcome), results=no_looks))) == BACKTEST


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.text(max_size=60))
def test_fan_name_is_a_plain_file_name(ticker: str) -> None:
    assert re.fullmatch(r"fan_[A-Za-z0-9._=~-]+\.png", fan_name(ticker))
    assert len(fan_name(ticker)) < 64


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.text("aA./\\_", max_size=4), st.text("aA./\\_", max_size=4))
def test_different_tickers_have_different_file_names_in_any_case(first: str, second: str) -> None:
    assert (fan_name(first).lower() == fan_name(second).lower()) == (first == second)


@pytest.mark.parametrize("count", [1, MAX_SINGLE_FANS, MAX_SINGLE_FANS + 1, 1000])
def test_every_ticker_is_in_one_figure(count: int) -> None:
    tickers = [f"T{k}" for k in range(count)]
    sheets = sheets_of_fans(tickers)
    assert [ticker for shown in sheets.values() for ticker in shown] == tickers
    assert (len(sheets) == count) == (count <= MAX_SINGLE_FANS)


def test_sheet_shows_a_fan_per_ticker(outcome: CalendarResult) -> None:
    sheet = draw_sheet(list(fans(outcome.forecasts, outcome.frames, outcome.currencies)))
    assert [axes.get_title(loc="left") for axes in sheet.axes] == ["AAA", "BBB"]


def test_fan_begins_at_the_origin_s_close(outcome: CalendarResult) -> None:
    for row, fan in enumerate(fans(outcome.forecasts, outcome.frames, outcome.currencies)):
        assert fan.closes[-1] == outcome.frames.reference_close[row, -1]
        assert fan.sessions[-1] == outcome.frames.sessions[-1]
        assert len(fan.targets) == HORIZONS
        assert (np.diff(fan.prices, axis=1) > 0).all()


def test_no_close_after_the_origin_is_shown(outcome: CalendarResult) -> None:
    earlier = outcome.frames.sessions[-4]
    forecasts = outcome.forecasts.assign(as_of=earlier.astype("datetime64[s]"))
    for row, fan in enumerate(fans(forecasts, outcome.frames, outcome.currencies)):
        assert fan.sessions[-1] == earlier
        assert fan.closes[-1] == outcome.frames.reference_close[row, -4]


def test_closes_before_a_split_are_in_today_s_shares() -> None:
    frames = small_frames(("AAA",), 30)
    traded = frames.reference_close.copy()
    traded[0, :20] *= 4  # four new shares for one on session 20; the total return knows
    traded[0, :10] *= 1.02  # a dividend of 2 % on session 10 leaves the price as traded
    split = replace(frames, reference_close=traded)
    _, closes = recent_closes(split, "AAA", frames.sessions[-1])
    expected = frames.reference_close[0] * np.where(np.arange(30) < 10, 1.02, 1.0)
    np.testing.assert_allclose(closes, expected, rtol=1e-6)


def test_a_crash_is_not_taken_for_a_split() -> None:
    frames = small_frames(("AAA",), 30)
    returns, closes = frames.log_return.copy(), frames.reference_close.copy()
    returns[0, 20] -= 0.5
    closes[0, 20:] *= np.exp(-0.5)
    crashed = replace(frames, log_return=returns, reference_close=closes)
    np.testing.assert_array_equal(recent_closes(crashed, "AAA", frames.sessions[-1])[1], closes[0])


def test_coverage_by_quarter_against_a_slow_twin(outcome: CalendarResult) -> None:
    backtest = outcome.evaluation.backtest
    within: dict[str, list[bool]] = {}
    for row in range(len(backtest.tickers)):
        for origin, session in enumerate(backtest.sessions):
            low, high = backtest.quantiles[NETWORK][row, origin, 1, [1, 5]]
            outcome_at = backtest.realised[row, origin, 1]
            if np.isfinite(outcome_at):
                day = session.item()
                within.setdefault(f"{day.year} {(day.month - 1) // 3}", []).append(bool(low <= outcome_at <= high))
    quarters, coverage = coverage_by_quarter(backtest, NETWORK, 2)
    assert [f"{d.item().year} {(d.item().month - 1) // 3}" for d in quarters] == list(within)
    np.testing.assert_allclose(coverage, [np.mean(hits) for hits in within.values()])


def test_test_range_without_a_last_horizon_is_drawn(outcome: CalendarResult) -> None:
    backtest = outcome.evaluation.backtest
    realised = backtest.realised.copy()
    realised[..., -1] = np.nan
    short = replace(backtest, realised=realised)
    assert draw_reliability(short).axes[2].get_title(loc="left").startswith(f"{HORIZONS - 1} sessions ahead")
    draw_coverage(short)


def test_every_forecaster_s_own_reliability_is_drawn_above_and_its_difference_below(outcome: CalendarResult) -> None:
    backtest = outcome.evaluation.backtest
    figure = draw_reliability(backtest)
    lower_limits = set()
    for place, horizon in ((0, 1), (2, HORIZONS)):
        observed = {name: 100 * shares for name, shares in reliability(backtest, horizon).items()}
        assert len({tuple(shares) for shares in observed.values()}) > 3, "they differ, or nothing is tested"
        upper, lower = ({line.get_label(): line.get_ydata() for line in axes.lines} for axes in figure.axes[place:][:2])
        for name, shares in observed.items():
            np.testing.assert_allclose(upper[name], shares)
            np.testing.assert_allclose(lower[name], shares - 100 * np.array(LEVELS), atol=1e-9)
        assert upper.keys() == lower.keys()
        assert all(len(line.get_xdata()) == 2 or list(line.get_xdata()) == [5, 10, 25, 50, 75, 90, 95]
                   for axes in figure.axes[place:][:2] for line in axes.lines)  # fmt: skip
        lower_limits.add(figure.axes[place + 1].get_ylim())
    assert len(lower_limits) == 1, "one scale, so that horizons can be compared"


def test_reliability_is_the_share_of_outcomes_at_or_below(outcome: CalendarResult) -> None:
    backtest = outcome.evaluation.backtest
    for axes, horizon in ((draw_reliability(backtest).axes[0], 1), (draw_reliability(backtest).axes[2], HORIZONS)):
        drawn = {line.get_label(): line.get_ydata() for line in axes.lines}
        for name, values in backtest.quantiles.items():
            rows = zip(
                backtest.realised[..., horizon - 1].flat, values[..., horizon - 1, :].reshape(-1, 7), strict=True
            )
            hits = np.array([came <= said for came, said in rows if np.isfinite(came)])
            np.testing.assert_allclose(drawn[name], 100 * hits.mean(axis=0))


def test_prices_have_a_unit(outcome: CalendarResult) -> None:
    (fan, *_) = fans(outcome.forecasts, outcome.frames, dict.fromkeys(outcome.frames.tickers, "CHF"))
    (axes,) = draw_fan(fan).axes
    assert axes.get_ylabel() == "CHF per share"
    assert " CHF on " in axes.get_title(loc="left")


def test_nothing_scored_is_drawn_empty(outcome: CalendarResult) -> None:
    empty = replace(outcome.evaluation.backtest, realised=np.full_like(outcome.evaluation.backtest.realised, np.nan))
    draw_coverage(empty)


def test_network_fits_are_the_fold_s_own_by_seed(outcome: CalendarResult) -> None:
    fits = network_fits(outcome.results, outcome.folds[1])
    first_looks = [fitted.checks[0].valid_loss for fitted in fits]
    assert first_looks == sorted(first_looks)
    assert len(fits) == 2


def test_a_good_band_covers_what_it_says(outcome: CalendarResult) -> None:
    _, coverage = coverage_by_quarter(outcome.evaluation.backtest, NETWORK, 1)
    assert 0.7 < coverage.mean() < 0.9
