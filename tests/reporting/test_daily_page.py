"""The daily page: its numbers against plain twins, what a hostile ticker can do, its policy, its size and time."""

import csv
import html
import json
import re
import time
from base64 import b64encode
from dataclasses import replace
from hashlib import sha256
from io import StringIO

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.evaluation.direction import rise_probability
from pipeline.forecasters.forecaster import LEVELS
from pipeline.forecasting.forecasts import QUANTILE_COLUMNS
from pipeline.reporting.daily_page import (
    DailyPage,
    daily_html,
    day_summary,
    forecasts_csv,
    hit_sentence,
    index_html,
    page_json,
)
from pipeline.reporting.daily_record import main_tables
from pipeline.reporting.daily_rows import TickerFacts, TickerRow, past_forecasts, ticker_rows
from pipeline.wording import chance, wider

from .daily_pages import BEFORE, ORIGIN, TARGETS, earlier_rows, forecast_json, made_page, made_record
from .html_pages import Element, read_page

HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(2)>'
FIVE_HUNDRED = tuple(f"T{k:03d}" for k in range(500))


def row_of(ticker: str = "AAA", close: float = 100.0, earlier: pd.DataFrame | None = None) -> TickerRow:
    """One row, of which 99.5 was said with a band of about 98.2 to 100.8 and 100 came, unless `earlier` says else."""
    said = pd.DataFrame([earlier_rows(ticker, 99.5, close)]) if earlier is None else earlier
    (row,) = ticker_rows(forecast_json(ticker, close), said, TickerFacts("XNYS", ORIGIN, {ticker: "USD"}))
    return row


def rows_in(page: Element) -> dict[str, list[str]]:
    """The text of the cells of each ticker, its spaces plain ones."""
    body = page.by_id("forecast").all("tbody")[0]
    return {row.attributes["data-n"]: [cell.text for cell in row.all("td")] for row in body.all("tr")}


# --- Values ---


@given(st.lists(st.floats(0.5, 2.0), min_size=7, max_size=7, unique=True), st.floats(0.4, 2.2))
def test_the_probability_of_a_rise_is_read_off_the_quantiles(values: list[float], reference: float) -> None:
    quantiles = sorted(values)
    expected = 1 - LEVELS[0] if reference <= quantiles[0] else 1 - LEVELS[-1]
    for k in range(6):
        if quantiles[k] < reference <= quantiles[k + 1]:
            share = (reference - quantiles[k]) / (quantiles[k + 1] - quantiles[k])
            expected = 1 - (LEVELS[k] + share * (LEVELS[k + 1] - LEVELS[k]))
    assert rise_probability(quantiles, reference) == pytest.approx(expected)


def test_a_median_at_the_last_close_is_an_even_chance_and_a_bound_is_named_as_one() -> None:
    assert row_of().sessions[0].rise_probability == pytest.approx(0.5)
    assert [chance(p) for p in (0.5, 0.95, 0.05)] == ["50 %", "95 % or more", "5 % or less"]
    assert np.isnan(rise_probability([np.nan] * 7, 1.0))


@pytest.mark.parametrize(
    ("actual", "outcome", "miss"),
    [
        (100.0, "hit", 0.0),
        (102.0, "above", 0.01),
        (97.0, "below", 0.02),
        (101.0, "hit", 0.0),
        (np.nan, "not known", None),
    ],
)
def test_what_came_is_a_hit_within_the_band_and_a_miss_beyond(actual: float, outcome: str, miss: float | None) -> None:
    said = pd.DataFrame([{**earlier_rows("AAA", 100.0, actual), "q10": 99.0, "q50": 100.0, "q90": 101.0}])
    past = row_of(earlier=said).past
    assert past is not None
    assert past.outcome == outcome
    assert past.miss == (None if miss is None else pytest.approx(miss))


def test_the_newest_forecast_that_was_published_in_time_for_the_session_counts() -> None:
    base = earlier_rows("AAA", 100.0, 100.0)
    rows = pd.DataFrame(
        [
            {**base, "as_of": pd.Timestamp("2023-12-20"), "horizon": 2, "q50": 2.0},
            {**base, "as_of": pd.Timestamp("2023-12-19"), "horizon": 3, "q50": 3.0},
            {**base, "status": "late", "q50": 1.0},
            {**base, "published": False, "q50": 4.0},
            {**base, "target_session": pd.Timestamp("2023-12-26"), "q50": 5.0},
        ]
    )
    assert past_forecasts(rows, ORIGIN)["AAA"]["q50"] == 2.0
    row = row_of(earlier=rows)
    assert row.past is not None
    assert (row.past.horizon, row.past.as_of) == (2, "2023-12-20")
    assert row.change is None, "the forecast of another horizon is not compared"
    assert past_forecasts(rows.iloc[:0], ORIGIN) == {}
    assert row_of(earlier=rows.iloc[:0]).past is None


def test_the_change_since_yesterday_is_on_one_scale_over_a_split() -> None:
    plain = row_of(close=100.0).change
    split = row_of(close=50.0, earlier=pd.DataFrame([earlier_rows("AAA", 99.5, 100.0)])).change  # two for one
    assert plain is not None
    assert split is not None
    assert plain.median == pytest.approx(100.0 / 99.5 - 1)
    assert split.median == pytest.approx(plain.median)
    assert split.width == pytest.approx(plain.width, abs=1e-12)
    doubled = row_of(earlier=pd.DataFrame([earlier_rows("AAA", 99.5, 100.0, daily=0.005)])).change
    assert doubled is not None
    assert doubled.width == pytest.approx(1.0, rel=0.01)
    assert [wider(change) for change in (0.12, -0.34, 0.001)] == ["12 % wider", "34 % narrower", "as wide"]


# --- The page ---


def test_the_page_shows_each_tickers_sessions_what_was_said_and_what_came() -> None:
    page = made_page(("AAA", "BBB"))
    cells = rows_in(read_page(daily_html(page)))
    for row in page.rows:
        low, high = row.sessions[0].band(80)
        assert cells[row.ticker][0] == f"{row.reference_close:,.2f} USD {ORIGIN}"
        assert f"{low:,.2f} – {high:,.2f}" in cells[row.ticker][1]
        assert f"50 %: {row.sessions[0].band(50)[0]:,.2f}" in cells[row.ticker][1]
        assert [target in cell for target, cell in zip(TARGETS, cells[row.ticker][1:6], strict=True)] == [True] * 5
        assert cells[row.ticker][6] == chance(row.sessions[0].rise_probability)
        assert row.past is not None
        assert row.change is not None
        assert cells[row.ticker][7].endswith(wider(row.change.width))
        word = "Hit" if row.past.low <= row.reference_close <= row.past.high else "Miss"
        assert cells[row.ticker][8].startswith(word)
        assert f"said {row.past.low:,.2f} – {row.past.high:,.2f}" in cells[row.ticker][8]


def test_hits_are_counted_over_all_tickers() -> None:
    page = made_page(FIVE_HUNDRED)
    inside = [row for row in page.rows if row.past and row.past.low <= row.reference_close <= row.past.high]
    assert 350 < len(inside) < 450
    assert (page.hits.hits, page.hits.known) == (len(inside), 500)
    sentence = f"Of 500 closes of {ORIGIN}, {len(inside)} ({100 * len(inside) / 500:.0f} %) came within the 80 % band"
    assert hit_sentence(page).startswith(sentence)
    assert hit_sentence(replace(page, rows=())) == ""


def test_live_stands_next_to_what_was_promised_and_a_window_that_counts_no_more_is_left_out() -> None:
    coverage, skill = main_tables(made_record((12, 12)), made_record((1204,)))
    assert [(it.label, it.unit) for it in coverage.columns] == [("Live", "12 sessions"), ("Promised", "1,204 sessions")]
    assert [cell.text for cell in coverage.rows[0].cells] == ["78.7 %", "78.7 %"]
    assert [row.name for row in skill.rows] == ["climatology", "last_close", "drift", "ewma", "linear"]
    assert [(row.cells[-1].text, row.cells[-1].colour) for row in skill.rows[:2]] == [
        ("better 41.0", "better"),
        ("better 41.0", ""),
    ]
    both, _ = main_tables(made_record((60, 90)), None)
    assert [it.unit for it in both.columns] == ["60 sessions", "90 sessions"]
    assert main_tables(None, None) == ()


def test_the_page_says_what_is_wrong_with_the_data_which_model_and_why_no_refit() -> None:
    page = read_page(daily_html(made_page(("AAA",))))
    data = page.by_id("data").text
    for text in ("GONE no bar of the last 5", "SLOW 2023-12-21 the source refused", "ODD 2023-12-20 1 row: found"):
        assert text in data
    assert "Version 3 of model daily; its backtest" in page.by_id("model").text
    assert "No refit was due: the next one is in 2024-06" in page.by_id("model").text
    assert "1 excluded. GONE" in page.all("header")[0].text


def test_an_empty_day_and_a_day_without_a_record_have_a_page() -> None:
    day = made_page(("AAA",))
    calendar = replace(day.calendars[0], live=None, promise=None, report=None, mlflow_url="sqlite:///x")
    page = read_page(daily_html(replace(day, rows=(), calendars=(calendar,))))
    assert "No ticker has a forecast." in page.text
    assert "No forecast that was issued on time has an outcome yet." in page.by_id("record").text
    assert not any("sqlite" in link.attributes["href"] for link in page.all("a"))
    assert read_page(index_html("daily", ())).text.count("No day has a page yet") == 1


def test_tickers_of_several_calendars_and_horizons_share_a_page() -> None:
    one, other = made_page(("AAA", "BBB")), made_page(("C.NS",), seed=1)
    short = replace(other.rows[0], calendar="XBOM", sessions=other.rows[0].sessions[:2])
    calendars = (*one.calendars, replace(one.calendars[0], calendar="XBOM"))
    page = read_page(daily_html(replace(one, rows=(*one.rows, short), calendars=calendars)))
    table = page.by_id("forecast").all("tbody")[0]
    assert {len(row.all("td")) for row in table.all("tr")} == {9}
    assert [row.all("th")[0].text for row in table.all("tr")][2].startswith("C.NS XBOM")
    assert page.by_id("record").all("h3")[1].text == "XBOM"


def test_every_table_has_a_caption_and_every_head_a_scope() -> None:
    for text in (daily_html(made_page(("AAA",))), index_html("daily", [day_summary(made_page(("AAA",)))])):
        page = read_page(text)
        assert page.all("table")
        for table in page.all("table"):
            assert table.all("caption")[0].text
            assert {cell.attributes["scope"] for cell in table.all("th")} == {"col", "row"}


# --- What is hostile ---


def test_a_hostile_name_is_text_wherever_it_stands() -> None:
    day = made_page((HOSTILE, "BBB"))
    calendar = replace(day.calendars[0], calendar=HOSTILE, warnings=(HOSTILE,), done=(HOSTILE,), mlflow_url=HOSTILE)
    text = daily_html(replace(day, model=HOSTILE, calendars=(calendar,), warnings=(HOSTILE,), refit=HOSTILE))
    page = read_page(text)
    assert len(page.all("script")) == 1
    assert page.all("img") == []
    assert not any(name.startswith("on") for element in page.walk() for name in element.attributes)
    assert HOSTILE in rows_in(page)
    assert text.count("<script>alert") == 0
    assert html.escape(HOSTILE, quote=False).replace('"', "&#34;") in text
    lines = list(csv.reader(StringIO(forecasts_csv(day.rows))))
    assert {len(line) for line in lines} == {17}
    assert lines[1][0] == HOSTILE


@pytest.mark.parametrize("text", [daily_html(made_page(("AAA",))), index_html("daily", [])], ids=["page", "index"])
def test_the_policy_allows_the_one_style_and_the_one_script_and_nothing_else(text: str) -> None:
    page = read_page(text)
    (policy,) = (it.attributes["content"] for it in page.all("meta") if "http-equiv" in it.attributes)
    directives = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    assert directives["default-src"] == "'none'"
    assert "unsafe" not in policy
    for tag, count in (("style", 1), ("script", len(page.all("script")))):
        found = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        assert len(found) == count == len(page.all(tag))
        for inner in found:
            digest = b64encode(sha256(inner.encode()).digest()).decode()
            assert directives[f"{tag}-src"] == f"'sha256-{digest}'"
    assert not any("style" in element.attributes for element in page.walk())


# --- As data, size and time ---


def test_json_and_csv_have_what_the_page_has() -> None:
    page = made_page(("AAA", "BBB"))
    unknown = replace(page.rows[0], change=replace(page.rows[0].change, median=float("nan")))  # type: ignore[type-var]
    found = json.loads(page_json(replace(page, rows=(unknown, page.rows[1]))))
    assert found["rows"][0]["change"]["median"] is None
    assert found["rows"][1]["sessions"][0]["quantiles"] == list(page.rows[1].sessions[0].quantiles)
    assert found["hits"] == {"hits": page.hits.hits, "known": 2}
    assert found["calendars"][0]["live"]["coverage"][0]["coverage"] == pytest.approx(0.487)
    table = pd.read_csv(StringIO(forecasts_csv(page.rows)))
    assert len(table) == 2 * len(TARGETS)
    expected = [value for row in page.rows for it in row.sessions for value in it.quantiles]
    np.testing.assert_array_equal(table[list(QUANTILE_COLUMNS)].to_numpy().ravel(), expected)
    assert table["target_session"].tolist() == [*TARGETS, *TARGETS]


def test_the_index_has_the_newest_day_first() -> None:
    summary = day_summary(made_page(("AAA", "BBB")))
    assert (summary.versions, summary.tickers, summary.coverage) == ((3,), 2, pytest.approx(0.787))
    page = read_page(index_html("daily", [replace(summary, day=BEFORE), summary]))
    links = [link.attributes["href"] for link in page.all("tbody")[0].all("a")]
    assert links == [f"{ORIGIN}/index.html", f"{BEFORE}/index.html"]


@pytest.fixture(scope="module")
def large() -> DailyPage:
    return made_page(FIVE_HUNDRED)


def test_five_hundred_tickers_are_small_and_quick(large: DailyPage) -> None:
    started = time.process_time()
    size_bytes = len(daily_html(large).encode())
    page_json(large)
    forecasts_csv(large.rows)
    assert time.process_time() - started < 5
    assert size_bytes < 1_500_000
