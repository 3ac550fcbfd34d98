"""Builders of loaded bars, evaluations and recorded results for the tests of the use cases."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline.evaluation.evaluation import Evaluation, EvaluationInputs, evaluate
from pipeline.evaluation.specification import MoneySpec
from pipeline.evaluation.trials import Trials
from pipeline.market.bars import Bars, ValidatedBars
from pipeline.market.calendars import listing_of
from pipeline.operation.result import CalendarResult
from pipeline.workflow.calendar_bars import LoadedBars
from pipeline.workflow.over_calendars import RecordedRun
from pipeline.workflow.progress import NoProgress
from pipeline.workflow.recording import RecordedResult
from pipeline.workflow.result import Result
from pipeline.workflow.summaries import result_of
from tests.evaluation.backtests import flat_opens, random_backtest

NOW = datetime(2024, 6, 3, 12, tzinfo=UTC)
EVERYWHERE = ("AAA", "BBB", "INFY.NS", "TCS.BO")


class Messages(NoProgress):
    """Progress that keeps its messages."""

    def __init__(self) -> None:
        self.sent: list[str] = []

    def message(self, text: str) -> None:
        self.sent.append(text)


def bars_of(*tickers: str) -> Bars:
    """Bars of one session, of tickers on the calendars that their names stand for."""
    frame = pd.DataFrame({"ticker": tickers, "session": np.datetime64("2024-05-31", "s")})
    return Bars(frame, tuple(map(listing_of, tickers)), "actions")


def loaded_of(*tickers: str, **values: Any) -> LoadedBars:
    """What was loaded of the tickers; values are those of ValidatedBars and LoadedBars."""
    stale = values.pop("stale", ())
    universe = values.pop("universe", None)
    validated = replace(ValidatedBars(bars_of(*tickers), (), ()), **values)
    return LoadedBars(validated, stale, "Made up.", NOW, universe)


def evaluation_of(sentence: str, origins: int = 60) -> Evaluation:
    backtest = random_backtest(origins, missing=0.0)
    whole = evaluate(backtest, EvaluationInputs(flat_opens(backtest), MoneySpec(), Trials()))
    return replace(whole, verdict=replace(whole.verdict, sentence=sentence))


def recorded_result(result: CalendarResult) -> Result:
    """The result of a run on one calendar."""
    recorded = RecordedResult(result, "ab", "http://127.0.0.1/#/ab", Path("report.html"), {"fit": 1.0})
    return result_of(RecordedRun((recorded,), (), {}))
