"""The page of a real small daily run: what is written, on which days, and that its failure loses nothing."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.evaluation.comparisons import BASELINE_KINDS
from pipeline.forecasting.forecasts import QUANTILE_COLUMNS
from pipeline.operation.ledger.database import open_ledger
from pipeline.operation.ledger.reading import exported, listed
from pipeline.operation.model_versions import read_version
from pipeline.settings import Settings
from pipeline.workflow.daily import DailyPlan, daily
from pipeline.workflow.daily_page import promised, refit_in_words
from pipeline.workflow.daily_result import DailyResult
from pipeline.workflow.day_file import day_file
from tests.reporting.html_pages import Element, read_page
from tests.workflow.daily_job import DAYS, EXPERIMENT, context_at, evening, live_through

FIRST, SECOND = map(str, DAYS)
NEXT = np.datetime64("2023-12-26")  # after Christmas
NO_SERVER = "http://127.0.0.1:9"


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home in which two days were issued."""
    home = tmp_path_factory.mktemp("lived") / "home"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TAPECAST_HOME", str(home))
        patch.setenv("TAPECAST_TRACKING_URI", NO_SERVER)
        live_through(DAYS)
    return home


@pytest.fixture(autouse=True)
def home(lived: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of that home."""
    copied = tmp_path / "home"
    shutil.copytree(lived, copied)
    monkeypatch.setenv("TAPECAST_HOME", str(copied))
    monkeypatch.setenv("TAPECAST_TRACKING_URI", NO_SERVER)
    return copied


def run(*late: str) -> DailyResult:
    return daily(context_at(evening(NEXT), late=late), EXPERIMENT, DailyPlan())


def folder() -> Path:
    return Settings().reports / "daily"


def page_of(day: object) -> Element:
    return read_page((folder() / str(day) / "index.html").read_text())


def values_of(day: object) -> dict[str, object]:
    return dict(json.loads((folder() / str(day) / "day.json").read_text()))


def test_each_day_has_its_page_its_data_and_a_line_in_the_index() -> None:
    result = run()
    assert result.page == str(folder() / str(NEXT) / "index.html")
    days = (str(NEXT), SECOND, FIRST)
    for day in days:
        found = sorted(path.name for path in (folder() / day).iterdir())
        assert found == ["day.json", "forecasts.csv", "index.html", "summary.json"]
        assert f"Forecast from {day}, model daily" in page_of(day).text
    links = [
        link.attributes["href"] for link in read_page((folder() / "index.html").read_text()).all("tbody")[0].all("a")
    ]
    assert links == [f"{day}/index.html" for day in days]
    report = next(it for it in page_of(NEXT).all("a") if it.text == "Report with fans").attributes["href"]
    assert (folder() / str(NEXT) / report).is_file()


def test_the_page_has_what_the_ledger_has() -> None:
    run()
    rows = exported(open_ledger(Settings().ledger_url), "daily")
    rows = rows[rows["published"].astype(bool)]
    table = pd.read_csv(folder() / str(NEXT) / "forecasts.csv")
    issued = rows[rows["as_of"] == pd.Timestamp(NEXT)].sort_values(["ticker", "horizon"])
    np.testing.assert_allclose(table[list(QUANTILE_COLUMNS)], issued[list(QUANTILE_COLUMNS)], rtol=1e-7)
    assert table["target_session"].tolist() == issued["target_session"].dt.strftime("%Y-%m-%d").tolist()
    said = rows[(rows["as_of"] == pd.Timestamp(SECOND)) & (rows["horizon"] == 1)].set_index("ticker")
    hits = (said["q10"] <= said["actual"]) & (said["actual"] <= said["q90"])
    found = {row["ticker"]: row for row in values_of(NEXT)["rows"]}  # type: ignore[attr-defined]
    assert list(found) == ["AAA", "BBB", "CCC"]
    for ticker, row in found.items():
        assert row["past"]["actual"] == pytest.approx(said.loc[ticker, "actual"])
        assert row["past"]["low"] == pytest.approx(said.loc[ticker, "q10"])
        assert (row["outcome"] == "hit") == hits[ticker]
        assert row["currency"] == "USD"
    assert values_of(NEXT)["hits"] == {"hits": int(hits.sum()), "known": 3}
    assert f"Of 3 closes of {NEXT}, {hits.sum()} (" in page_of(NEXT).all("header")[0].text


def test_the_first_day_has_nothing_said_for_it_and_shows_what_the_backtest_promised() -> None:
    page = page_of(FIRST)
    assert page.by_id("forecast").text.count("nothing was said in time") == 3
    assert "No forecast that was issued on time has an outcome yet." in page.by_id("record").text
    model = read_version(Settings().models, "daily", 1).models["XNYS"]
    assert model.promise is not None
    of_first = model.promise.table.query("horizon == 1 and forecaster == 'published'")
    coverage = of_first["inside_80"].sum() / of_first["rows"].sum()
    row = page.by_id("record").all("tbody")[0].all("tr")[0]
    assert f"{100 * coverage:.1f} %" in row.all("td")[-1].text
    tables = promised(model)
    assert tables is not None
    assert {it["baseline"] for it in tables["skill"]} == {*BASELINE_KINDS}


def test_a_second_run_of_the_day_replaces_the_page() -> None:
    first = run("CCC")
    page = page_of(NEXT)
    assert "1 not up to date. CCC" in page.all("header")[0].text
    late = next(row for row in page.by_id("forecast").all("tbody")[0].all("tr") if row.attributes["data-n"] == "CCC")
    assert "1 session old" in late.text
    assert "No close yet" in late.text
    assert "CCC 2023-12-22 1 session old" in page.by_id("data").text
    second = run()
    assert second.page == first.page
    assert "not up to date" not in page_of(NEXT).text
    assert values_of(NEXT)["hits"]["known"] == 3  # type: ignore[index]
    assert len(list(folder().glob("????-??-??"))) == 3
    assert list(folder().rglob(".draft-*")) == []


def test_the_page_says_which_model_forecast_and_when_it_is_refitted_next() -> None:
    text = page_of(SECOND).by_id("model").text
    assert "Version 1 of model daily forecast the XNYS tickers. Its backtest of 2023-12-21: " in text
    assert "Refit. None was due. The model of XNYS was trained until 2023-07-01 and is refitted every 12 months" in text
    assert "next when the fold of 2024-07 has begun" in text
    version = read_version(Settings().models, "daily", 1)
    refused = {"status": "refused", "reason": "the fold of 2023-07 has begun", "version": 2, "sentence": "Not it."}
    assert refit_in_words(refused, version) == "The fold of 2023-07 has begun; version 2. Not it."


def test_a_page_that_cannot_be_written_is_a_warning_and_loses_nothing(home: Path) -> None:
    shutil.rmtree(folder())
    folder().write_text("a file where the folder should be")
    result = run()
    assert result.page is None
    (warning,) = (text for text in result.warnings if "daily page" in text)
    assert warning.startswith("The daily page could not be written: cannot write ")
    assert [row["session"] for row in result.calendars[0].issued] == [str(NEXT)]
    assert len(listed(open_ledger(Settings().ledger_url), "daily", 9)) == 3
    assert day_file(Settings(), "daily", "XNYS", str(NEXT)).exists()


@pytest.mark.parametrize("damage", [lambda path: path.write_text("{"), lambda path: path.write_text('{"day": 1}')])
def test_a_damaged_summary_loses_its_line_alone(damage: Callable[[Path], object]) -> None:
    damage(folder() / FIRST / "summary.json")
    run()
    index = read_page((folder() / "index.html").read_text())
    assert [link.text for link in index.all("tbody")[0].all("a")] == [str(NEXT), SECOND]


def test_a_calendar_that_the_run_was_not_for_is_shown_as_its_last_day_has_it() -> None:
    from pipeline.workflow.daily_page import _days_of_others  # noqa: PLC0415  the model of the job has one calendar

    version = read_version(Settings().models, "daily", 1)
    both = replace(version, models={**version.models, "XBOM": version.models["XNYS"]})
    stored = json.loads(day_file(Settings(), "daily", "XNYS", SECOND).read_text())
    for day in (FIRST, SECOND):
        content = json.dumps({**stored, "calendar": "XBOM", "origin": day})
        day_file(Settings(), "daily", "XNYS", day).with_name(f"{day}-XBOM.json").write_text(content)
    (found,) = _days_of_others(Settings(), both, {"XNYS"})
    assert (found.calendar, found.origin) == ("XBOM", SECOND)
    assert _days_of_others(Settings(), both, {"XNYS", "XBOM"}) == []
