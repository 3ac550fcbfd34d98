"""Updates of the price store: their status, and what an import takes of a file."""

from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.errors import UsageError
from pipeline.market.bars import Bars, CalendarMismatch, Exclusion, ValidatedBars
from pipeline.market.files import open_files
from pipeline.market.importing import terms_of
from pipeline.market.specification import YAHOO
from pipeline.market.store.collection import DiskUse, open_collection
from pipeline.market.store.stored import current_rows
from pipeline.market.update import UpdateResult, UpdateState
from pipeline.market.validation.report import validation_report
from pipeline.market.validation.rules import problem_of
from pipeline.settings import Settings
from pipeline.workflow.ingest import NOTHING_CHECKED, IngestResult, import_files
from pipeline.workflow.progress import NoProgress, StageTimer
from pipeline.workflow.result import json_rows
from pipeline.workflow.run_context import RunContext, unwrapped
from pipeline.workflow.validation import CheckedPrices

from .price_files import LAST, NOW, ROWS, written

pytestmark = [pytest.mark.timeout(300)]


def in_other_zones() -> pd.DataFrame:
    """The rows with dates that change their time zone half way."""
    zones = np.where(np.arange(len(ROWS)) < 60, "T00:00:00-05:00", "T00:00:00+09:00")
    return ROWS.assign(session=ROWS["session"].dt.strftime("%Y-%m-%d") + zones)


# --- The status of an update ---


def update_of(
    *refreshed: UpdateResult,
    findings: pd.DataFrame = NOTHING_CHECKED.report,
    mismatches: tuple[CalendarMismatch, ...] = (),
) -> IngestResult:
    return IngestResult("made", refreshed, CheckedPrices(findings, mismatches), DiskUse(0, 0, 0, 0))


@pytest.mark.parametrize("state", UpdateState)
def test_an_update_is_partial_where_a_ticker_is_not_up_to_date(state: UpdateState) -> None:
    settled = state in (UpdateState.CURRENT, UpdateState.UPDATED, UpdateState.RESTATED)
    fine, update = UpdateResult("AAA", UpdateState.UPDATED, LAST, 0), UpdateResult("BBB", state, LAST, 0, reason="so")
    assert update_of(fine, update).status == ("ok" if settled else "partial")
    reported = update_of(fine, update).as_json()
    assert [row["ticker"] for row in reported["not_up_to_date"]] == ([] if settled else ["BBB"])
    assert [row["ticker"] for row in reported["restated"]] == (["BBB"] if state is UpdateState.RESTATED else [])


def test_an_update_is_partial_where_a_ticker_is_excluded_by_the_validation() -> None:
    noted = problem_of("AAA", "missing_sessions", "2024-01-08", "2 sessions without a bar", 2)
    nothing = Bars(pd.DataFrame(columns=["ticker"]), (), "actions")
    update = UpdateResult("AAA", UpdateState.UPDATED, LAST, 0)
    assert update_of(update, findings=validation_report(ValidatedBars(nothing, (noted,), ()))).status == "ok"
    out = validation_report(ValidatedBars(nothing, (noted,), (Exclusion("AAA", "too few"),)))
    assert update_of(update, findings=out).status == "partial"
    assert update_of(update, findings=out).as_json()["validation"] == json_rows(out)


def test_an_update_is_partial_where_the_bars_do_not_fit_their_calendar() -> None:
    mismatch = CalendarMismatch("XNYS", 2, 2, ("2024-01-15", "2024-02-19"), (), "XBOM", ("INFY.NS", "INFY.BO"))
    one = update_of(UpdateResult("INFY", UpdateState.UPDATED, LAST, 0), mismatches=(mismatch,))
    assert one.status == "partial"
    (row,) = one.as_json()["calendar_mismatches"]
    assert (row["calendar"], row["looks_like"], row["days"]) == ("XNYS", "XBOM", ["2024-01-15", "2024-02-19"])
    assert "write INFY.NS or INFY.BO" in row["sentence"]


# --- Importing ---


def context_at(settings: Settings, now: datetime) -> RunContext:
    """The context of an update at an instant."""
    return RunContext("ingest", settings, StageTimer(NoProgress()), unwrapped, None, now, now)


def test_the_name_of_yahoo_s_collection_is_reserved_for_it(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    prices = open_files(written(tmp_path / "bars.csv", {"AAA": ROWS}))
    with pytest.raises(UsageError, match="found 'yahoo' as the name of an import"):
        import_files(context_at(settings, NOW), prices, (), YAHOO)
    assert not settings.prices.exists()


def test_an_import_takes_completed_sessions_and_reports_what_it_did_not_take(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    frames = {"AAA": ROWS, "BAD": in_other_zones(), "../../x": ROWS, "CCC": ROWS}
    prices = open_files(written(tmp_path / "bars.csv", frames))
    before_the_close = NOW - timedelta(hours=2)

    names = ("AAA", "BAD", "../../x", "CCC", "AAA", "GONE")
    result = import_files(context_at(settings, before_the_close), prices, names, "mine")
    assert {update.ticker: update.state.value for update in result.refreshed} == {
        "AAA": "updated",
        "BAD": "missing",
        "../../x": "missing",
        "CCC": "updated",
        "GONE": "missing",
    }
    reported = {row["ticker"]: row["reason"] for row in result.as_json()["not_up_to_date"]}
    assert "UTC offset" in reported["BAD"]
    assert "found '../../x' as a ticker" in reported["../../x"]
    assert "unknown ticker 'GONE'" in reported["GONE"]
    assert list(result.validation["ticker"]) == ["AAA", "CCC"]
    assert result.disk.tickers == 2
    kept = current_rows(open_collection(settings.prices, "mine", terms_of(prices)), "AAA")
    assert kept["session"].iloc[-1] == ROWS["session"].iloc[-2]
