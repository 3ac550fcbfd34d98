"""What --json and the terminal say of a finished run."""

import json
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from flows.cli.rendering import show_result
from pipeline.evaluation.money.positions import PASSIVE
from pipeline.forecasting.forecasts import CALIBRATED, NETWORK
from pipeline.operation.publication import Publication
from pipeline.operation.result import CalendarResult
from pipeline.workflow.over_calendars import RecordedRun
from pipeline.workflow.recording import RecordedResult
from pipeline.workflow.result import Result, result_of
from tests.reporting.outcomes import HORIZONS, only_backtest, only_forecast, published, rich_outcome

MIXED = Publication(CALIBRATED, {1: CALIBRATED, 2: "ewma", 3: "ewma"}, {3: {"BBB": CALIBRATED, "AAA": "ewma"}})


@pytest.fixture(scope="module")
def outcome() -> CalendarResult:
    return rich_outcome()


def summarised(outcome: CalendarResult) -> Result:
    recorded = RecordedResult(outcome, "ab", "http://127.0.0.1/#/ab", Path("report.html"), {"fit": 1.0})
    return result_of(RecordedRun((recorded,), (), {}))


def told(outcome: CalendarResult, width: int = 80) -> str:
    """What a person sees on a terminal of this width."""
    output = StringIO()
    show_result(Console(file=output, width=width), summarised(outcome))
    return output.getvalue()


@pytest.fixture(scope="module")
def found(outcome: CalendarResult) -> dict[str, Any]:
    whole: dict[str, Any] = json.loads(json.dumps(summarised(outcome).as_json(), allow_nan=False))
    return whole


def test_json_names_model_echo_tickers_and_tries(outcome: CalendarResult, found: dict[str, Any]) -> None:
    verdict = outcome.evaluation.verdict
    assert found["model"] == CALIBRATED
    assert found["echo"] == verdict.echo.name
    assert found["tickers"] == verdict.tickers
    assert set(found["tickers"]) == set(outcome.frames.tickers)
    assert found["trials"] == {"tested": 2, "tuned": 4, "total": 5}


def test_json_has_the_summary_table(outcome: CalendarResult, found: dict[str, Any]) -> None:
    table = outcome.evaluation.summary_table
    assert len(found["summary_table"]) == len(table)
    for row, (_, expected) in zip(found["summary_table"], table.iterrows(), strict=True):
        assert set(row) == set(table.columns)
        assert row["forecaster"] == expected["forecaster"]
        for name in ("pinball", "pinball_error", "long_only_sharpe"):
            assert (row[name] is None) == (expected[name] != expected[name])
            assert row[name] is None or row[name] == pytest.approx(expected[name])


def test_json_keeps_what_it_said_before(found: dict[str, Any]) -> None:
    before = {"status", "calendar", "known_at", "verdict", "note", "warnings", "forecasts", "excluded"}
    assert before | {"stale", "unseen", "scores", "skill", "dm_p", "mlflow_url", "report", "seconds"} <= set(found)
    assert found["scores"]["1"][CALIBRATED]["pinball_error"] > 0


def test_json_says_which_forecaster_is_shown(outcome: CalendarResult, found: dict[str, Any]) -> None:
    assert found["publication"] == {"model": CALIBRATED, "pooled": {}, "by_ticker": {}}
    assert {row["forecaster"] for row in found["forecasts"]} == {CALIBRATED}
    mixed = replace(outcome, publication=MIXED, forecasts=published(outcome.forecasts, MIXED))
    (summary,) = summarised(mixed).calendars
    assert summary.publication == {
        "model": CALIBRATED,
        "pooled": {"1": CALIBRATED, "2": "ewma", "3": "ewma"},
        "by_ticker": {"3": {"BBB": CALIBRATED}},
    }
    keys = [(row["ticker"], row["horizon"], row["forecaster"]) for row in summary.forecasts]
    assert keys[: 2 * HORIZONS] == [
        *[("AAA", 1, CALIBRATED), ("AAA", 2, "ewma"), ("AAA", 3, "ewma")],
        *[("BBB", 1, CALIBRATED), ("BBB", 2, "ewma"), ("BBB", 3, CALIBRATED)],
    ]


def test_a_forecast_alone_has_no_evidence(outcome: CalendarResult) -> None:
    (summary,) = summarised(only_forecast(outcome)).calendars
    assert summary.backtest is None
    assert {"verdict", "model", "summary_table", "trials"}.isdisjoint(summarised(only_forecast(outcome)).as_json())
    assert "Money" not in told(only_forecast(outcome))


def test_the_terminal_leads_with_the_verdict_and_marks_the_model(outcome: CalendarResult) -> None:
    lines = told(outcome, width=2000).splitlines()
    said = [line for line in lines if line.strip()]
    assert said[0] == outcome.evaluation.verdict.sentence
    rows = [line for line in lines if line.startswith("│")]
    assert [line.split("│")[1].strip() for line in rows if " * " in line] == [f"{CALIBRATED} *"]
    scores = outcome.evaluation.scores.query("horizon == 1 and ticker == 'all tickers'").set_index("forecaster")
    (network,) = [line for line in rows if line.startswith(f"│ {NETWORK} ")]
    row = scores.loc[NETWORK]
    assert f"{1e4 * row['pinball']:.2f} ± {1e4 * row['pinball_error']:.2f}" in network
    assert f"{100 * row['coverage_80']:.1f} ± {100 * row['coverage_80_error']:.1f} %" in network


def test_the_terminal_has_a_line_on_the_median_and_one_on_money(outcome: CalendarResult) -> None:
    text = told(outcome)
    echo = outcome.evaluation.verdict.echo
    assert f"Echo    {echo.name}: the variance of the median's changes is {100 * echo.moved_share:.1f} %" in text
    money = outcome.evaluation.money_table.set_index(["forecaster", "rule"])
    own, held = money.loc[(CALIBRATED, "long_only")], money.loc[(PASSIVE, "buy_and_hold")]
    (line,) = [line for line in text.splitlines() if line.startswith("Money")]
    expected = (
        f"Sharpe, long only, net of costs {own['sharpe']:+.2f} ± {own['sharpe_error']:.2f}; "
        f"buy and hold {held['sharpe']:+.2f} ± {held['sharpe_error']:.2f}"
    )
    assert line.removeprefix("Money").strip() == expected.replace("-", "−")


def test_nothing_is_cut_off_on_eighty_columns(outcome: CalendarResult) -> None:
    assert "…" not in told(only_backtest(outcome))
    assert max(map(len, told(only_backtest(outcome)).splitlines())) <= 120


def test_the_terminal_says_where_a_baseline_is_shown(outcome: CalendarResult) -> None:
    chosen = Publication(CALIBRATED, dict.fromkeys(range(1, HORIZONS + 1), "ewma"))
    shown = replace(outcome, publication=chosen, forecasts=published(outcome.forecasts, chosen))
    text = " ".join(told(shown).split())
    assert "Shown Baseline ewma is shown 1 to 3 sessions ahead: the calibrated network has not shown skill" in text
    ewma = outcome.forecasts.query("ticker == 'AAA' and horizon == 1 and forecaster == 'ewma'").iloc[0]
    assert f"{ewma['q10']:.2f}…{ewma['q90']:.2f}" in text
    assert "Shown" not in told(outcome)
