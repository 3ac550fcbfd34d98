"""The figures of a backtest show the numbers of its tables."""

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.patches import Rectangle

from pipeline.evaluation.money.positions import PASSIVE
from pipeline.forecasting.forecasts import CALIBRATED, NETWORK
from pipeline.operation.result import CalendarResult
from pipeline.reporting.backtest_figures import draw_equity, draw_groups, has_groups
from pipeline.reporting.calibration_figures import draw_coverage, draw_pit, draw_reliability
from pipeline.reporting.figures import draw_figures
from pipeline.reporting.labels import RULE_LABELS

from .outcomes import HORIZONS, only_backtest, small_outcome


def test_every_account_is_drawn_to_its_end(outcome: CalendarResult) -> None:
    evaluation = outcome.evaluation
    (axes,) = draw_equity(evaluation).axes
    drawn = {line.get_label(): line.get_ydata() for line in axes.lines}
    by_rule = {result.rule: result for result in evaluation.money.results if result.forecaster in (CALIBRATED, PASSIVE)}
    assert set(drawn) == {RULE_LABELS[rule] for rule in by_rule}
    for rule, account in by_rule.items():
        np.testing.assert_array_equal(drawn[RULE_LABELS[rule]], account.equity)
        assert drawn[RULE_LABELS[rule]][-1] == pytest.approx(1 + account.performance.net_return)
    assert len(axes.lines[0].get_xdata()) == len(evaluation.money.opened)


def test_an_account_that_moved_by_much_has_a_log_scale(outcome: CalendarResult) -> None:
    money = outcome.evaluation.money
    grown = tuple(
        replace(result, equity=np.geomspace(1, 30 if result.rule == "long_only" else 0.4, len(result.equity)))
        for result in money.results
    )
    (axes,) = draw_equity(replace(outcome.evaluation, money=replace(money, results=grown))).axes
    assert axes.get_yscale() == "log"
    assert axes.get_title("left").endswith("(log scale)")
    (flat,) = draw_equity(outcome.evaluation).axes
    assert (flat.get_yscale() == "log") == flat.get_title("left").endswith("(log scale)")
    assert flat.get_yscale() == "linear"
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["0.5", "1", "2", "5", "10", "20"]


def test_groups_are_the_table_s(outcome: CalendarResult) -> None:
    (axes,) = draw_groups(outcome.evaluation).axes
    groups = outcome.evaluation.deciles.query("forecaster == @CALIBRATED and horizon == 1")
    np.testing.assert_allclose([bar.get_height() for bar in axes.patches], 1e4 * groups["mean_return"])
    assert not has_groups(small_outcome().evaluation)


def test_pit_bars_are_outcomes_over_those_expected(outcome: CalendarResult) -> None:
    axes = draw_pit(outcome.evaluation).axes
    assert [axis.get_title("left").split(":")[0] for axis in axes] == ["1 session ahead", f"{HORIZONS} sessions ahead"]
    backtest = outcome.evaluation.backtest
    for panel, horizon in zip(axes, (1, HORIZONS), strict=True):
        where = backtest.scored[..., horizon - 1]
        values = backtest.quantiles[CALIBRATED][where, horizon - 1].astype(np.float64)
        came = backtest.realised[where, horizon - 1].astype(np.float64)
        below = np.mean([outcome <= quantiles[0] for outcome, quantiles in zip(came, values, strict=True)])
        bars = [patch for patch in panel.patches if isinstance(patch, Rectangle)]
        assert bars[0].get_height() == pytest.approx(below / 0.05)
        assert [bar.get_width() for bar in bars] == pytest.approx([5, 5, 15, 25, 25, 15, 5, 5])
        labels = {text.get_text() for text in panel.get_legend().get_texts()}
        assert labels == {NETWORK, CALIBRATED}


def test_both_of_the_network_are_in_the_figures_of_calibration(outcome: CalendarResult) -> None:
    labels = {line.get_label() for line in draw_reliability(outcome.evaluation.backtest).axes[0].lines}
    assert {NETWORK, CALIBRATED} <= labels
    drawn = {line.get_label() for line in draw_coverage(outcome.evaluation.backtest).axes[0].lines}
    assert {f"{name}, 1 session ahead" for name in (NETWORK, CALIBRATED, "ewma")} <= drawn


def test_what_has_nothing_to_show_is_not_drawn(outcome: CalendarResult) -> None:
    assert {"equity.png", "groups.png", "pit.png"} <= set(draw_figures(only_backtest(outcome)))
    evaluation = outcome.evaluation
    bare = replace(
        evaluation,
        money=replace(evaluation.money, opened=evaluation.money.opened[:1]),
        deciles=evaluation.deciles.iloc[:0],
        pit=evaluation.pit.assign(observed=np.nan),
    )
    drawn = set(draw_figures(replace(only_backtest(outcome), evaluation=bare)))
    assert not {"equity.png", "groups.png", "pit.png"} & drawn
