"""The result of a finished run on the terminal."""

from dataclasses import replace
from io import StringIO

import pandas as pd
from rich.console import Console

from flows.cli.rendering import show_result
from pipeline.evaluation.evaluation import Evaluation
from pipeline.evaluation.money.positions import PASSIVE
from pipeline.forecasting.forecasts import CALIBRATED, NETWORK
from pipeline.market.bars import CalendarMismatch
from pipeline.operation.publication import Publication
from pipeline.operation.result import CalendarResult
from tests.reporting.outcomes import HORIZONS, only_backtest, only_forecast, published
from tests.workflow.builders import recorded_result


def printed(result: CalendarResult, width: int = 80) -> str:
    """What a person sees on a terminal of this width."""
    output = StringIO()
    show_result(Console(file=output, width=width), recorded_result(result))
    return output.getvalue()


def test_the_terminal_leads_with_the_verdict_and_marks_the_model(
    outcome: CalendarResult, evaluation: Evaluation
) -> None:
    lines = printed(outcome, width=2000).splitlines()
    sentences = [line for line in lines if line.strip()]
    assert sentences[0] == evaluation.verdict.sentence
    rows = [line for line in lines if line.startswith("│")]
    assert [line.split("│")[1].strip() for line in rows if " * " in line] == [f"{CALIBRATED} *"]
    scores = evaluation.scores.query("horizon == 1 and ticker == 'all tickers'").set_index("forecaster")
    (network,) = [line for line in rows if line.startswith(f"│ {NETWORK} ")]
    row = scores.loc[NETWORK]
    assert f"{1e4 * row['pinball']:.2f} ± {1e4 * row['pinball_error']:.2f}" in network
    assert f"{100 * row['coverage_80']:.1f} ± {100 * row['coverage_80_error']:.1f} %" in network


def test_a_wrong_calendar_comes_before_the_verdict(outcome: CalendarResult) -> None:
    mismatch = CalendarMismatch("XNYS", 2, 2, ("2024-01-15",), (), "XTSE", ("AAA.TO",))
    lines = printed(replace(outcome, calendar_mismatches=(mismatch,)), width=2000).splitlines()
    assert next(line for line in lines if line.strip()) == f"wrong calendar? {mismatch}"


def test_the_terminal_has_a_line_on_the_median_and_one_on_money(
    outcome: CalendarResult, evaluation: Evaluation
) -> None:
    text = printed(outcome)
    echo = evaluation.verdict.echo
    assert f"Echo    {echo.name}: the variance of the median's changes is {100 * echo.moved_share:.1f} %" in text
    money = evaluation.money_table.set_index(["forecaster", "rule"])
    own, held = (money.xs(key) for key in ((CALIBRATED, "long_only"), (PASSIVE, "buy_and_hold")))
    (line,) = [line for line in text.splitlines() if line.startswith("Money")]
    expected = (
        f"Sharpe, long only, net of costs {own['sharpe']:+.2f} ± {own['sharpe_error']:.2f}; "
        f"buy and hold {held['sharpe']:+.2f} ± {held['sharpe_error']:.2f}"
    )
    assert line.removeprefix("Money").strip() == expected.replace("-", "−")


def test_nothing_is_cut_off_on_eighty_columns(outcome: CalendarResult) -> None:
    assert "…" not in printed(only_backtest(outcome))
    assert max(map(len, printed(only_backtest(outcome)).splitlines())) <= 120


def test_the_terminal_names_the_baseline_that_is_shown(outcome: CalendarResult, forecasts: pd.DataFrame) -> None:
    chosen = Publication(CALIBRATED, dict.fromkeys(range(1, HORIZONS + 1), "ewma"))
    shown = replace(outcome, publication=chosen, forecasts=published(forecasts, chosen))
    text = " ".join(printed(shown).split())
    assert "Shown Baseline ewma is shown 1 to 3 sessions ahead: the calibrated network has not shown skill" in text
    ewma = forecasts.query("ticker == 'AAA' and horizon == 1 and forecaster == 'ewma'").iloc[0]
    assert f"{ewma['q10']:.2f}…{ewma['q90']:.2f}" in text
    assert "Shown" not in printed(outcome)


def test_the_terminal_has_no_line_on_money_without_a_backtest(outcome: CalendarResult) -> None:
    assert "Money" not in printed(only_forecast(outcome))
