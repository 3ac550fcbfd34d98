"""The result of a finished run as JSON: forecasts, publication and what the backtest showed."""

import json
import re
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from pipeline.evaluation.evaluation import Evaluation
from pipeline.forecasting.forecasts import CALIBRATED
from pipeline.operation.publication import Publication
from pipeline.operation.result import CalendarResult
from pipeline.workflow.result import BacktestSummary, CalendarSummary
from tests.reporting.outcomes import HORIZONS, only_forecast, published, small_outcome
from tests.workflow.builders import recorded_result

MIXED = Publication(CALIBRATED, {1: CALIBRATED, 2: "ewma", 3: "ewma"}, {3: {"BBB": CALIBRATED, "AAA": "ewma"}})


@pytest.fixture(scope="module")
def found(outcome: CalendarResult) -> dict[str, Any]:
    whole: dict[str, Any] = json.loads(json.dumps(recorded_result(outcome).as_json(), allow_nan=False))
    return whole


def test_json_names_model_echo_tickers_and_trials(
    outcome: CalendarResult, evaluation: Evaluation, found: dict[str, Any]
) -> None:
    verdict = evaluation.verdict
    assert found["model"] == CALIBRATED
    assert found["echo"] == verdict.echo.name
    assert {name: pytest.approx(value) for name, value in found["median"].items()} == {
        name: getattr(verdict.echo, name)
        for name in ("moved_share", "explained_share", "explained_error", "relation_p", "relation_p_adjusted")
    }
    assert found["tickers"] == verdict.tickers
    assert set(found["tickers"]) == set(outcome.frames.tickers)
    assert found["trials"] == {"tested": 2, "tuned": 4, "total": 5}


def test_json_has_the_summary_table(evaluation: Evaluation, found: dict[str, Any]) -> None:
    table = evaluation.summary_table
    assert len(found["summary_table"]) == len(table)
    for row, (_, expected) in zip(found["summary_table"], table.iterrows(), strict=True):
        assert set(row) == set(table.columns)
        assert row["forecaster"] == expected["forecaster"]
        for name in ("pinball", "pinball_error", "long_only_sharpe"):
            assert (row[name] is None) == (expected[name] != expected[name])
            assert row[name] is None or row[name] == pytest.approx(expected[name])


def test_json_has_the_size_that_is_traded_and_says_where_nothing_was(found: dict[str, Any]) -> None:
    assert found["money_entry_bps"] == pytest.approx(10.0)
    assert found["money"].startswith("Sharpe, long only, net of costs ")
    never = recorded_result(small_outcome()).as_json()["money"]
    assert never == "long only never traded: no median that it trades exceeds 10 bps"


def test_json_keeps_its_earlier_keys(found: dict[str, Any]) -> None:
    before = {"status", "calendar", "known_at", "verdict", "note", "warnings", "forecasts", "excluded"}
    assert before | {"stale", "unseen", "scores", "skill", "dm_p", "mlflow_url", "report", "seconds"} <= set(found)
    assert found["scores"]["1"][CALIBRATED]["pinball_error"] > 0


def test_json_names_the_forecaster_that_is_shown(
    outcome: CalendarResult, forecasts: pd.DataFrame, found: dict[str, Any]
) -> None:
    assert found["publication"] == {"model": CALIBRATED, "pooled": {}, "by_ticker": {}}
    assert {row["forecaster"] for row in found["forecasts"]} == {CALIBRATED}
    mixed = replace(outcome, publication=MIXED, forecasts=published(forecasts, MIXED))
    (summary,) = recorded_result(mixed).calendars
    assert summary.publication == {
        "model": CALIBRATED,
        "pooled": {"1": CALIBRATED, "2": "ewma", "3": "ewma"},
        "by_ticker": {"3": {"BBB": CALIBRATED}},
    }
    assert summary.forecasts is not None
    keys = [(row["ticker"], row["horizon"], row["forecaster"]) for row in summary.forecasts]
    assert keys[: 2 * HORIZONS] == [
        *[("AAA", 1, CALIBRATED), ("AAA", 2, "ewma"), ("AAA", 3, "ewma")],
        *[("BBB", 1, CALIBRATED), ("BBB", 2, "ewma"), ("BBB", 3, CALIBRATED)],
    ]


def test_a_forecast_alone_has_no_evidence(outcome: CalendarResult) -> None:
    (summary,) = recorded_result(only_forecast(outcome)).calendars
    assert summary.backtest is None
    assert {"verdict", "model", "summary_table", "trials"}.isdisjoint(recorded_result(only_forecast(outcome)).as_json())


def test_the_readme_names_the_keys_of_a_run() -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    listed = readme[readme.index("Of a run its keys are") : readme.index("A run on several calendars")]
    words = set(re.findall(r"`(\w+)`", listed)) - {"tested", "tuned", "total"}
    keys = {field.name for kind in (CalendarSummary, BacktestSummary) for field in fields(kind)} - {"backtest"}
    assert words == keys
