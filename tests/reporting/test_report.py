import resource
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.errors import UsageError
from pipeline.evaluation.comparisons import conclusions_by_ticker
from pipeline.evaluation.scores import POOLED
from pipeline.forecasting.forecasts import NETWORK
from pipeline.market.bars import Exclusion, Problem, Severity, Stale
from pipeline.operation.model import BacktestReference, VersionReference
from pipeline.operation.result import CalendarResult
from pipeline.reporting.figures import draw_figures
from pipeline.reporting.report import MAX_PROBLEMS, REPORT, report_html, write_report

from .html_pages import Element, read_page
from .outcomes import HORIZONS, LEFT_OUT, network_forecast, only_backtest, only_forecast, small_forecasts, small_outcome

HOSTILE = ("<b>x</b>", "../../x", 'q" onload="alert(1)', "{{7*7}}", "$\\bad{$", "日本\n\x00", "&amp;", "a'b")


@pytest.fixture(scope="module")
def outcome() -> CalendarResult:
    return small_outcome()


@pytest.fixture(scope="module")
def figures(outcome: CalendarResult) -> dict[str, bytes]:
    return draw_figures(outcome)


@pytest.fixture(scope="module")
def html(outcome: CalendarResult, figures: dict[str, bytes]) -> str:
    return report_html(outcome, figures, "http://127.0.0.1:5000/#/experiments/1/runs/ab")


@pytest.fixture(scope="module")
def page(html: str) -> Element:
    return read_page(html)


def rows_of(table: Element) -> dict[str, list[str]]:
    """Rows of a table's body: the header cell's text, then the texts of the others."""
    (body,) = table.all("tbody")
    return {row.all("th")[0].text: [cell.text for cell in row.all("td")] for row in body.all("tr")}


def test_report_is_written_whole_and_alone(outcome: CalendarResult, figures: dict[str, bytes], tmp_path: Path) -> None:
    path = write_report(outcome, figures, tmp_path / "new" / "folder", None)
    assert path == tmp_path / "new" / "folder" / REPORT
    assert [child.name for child in path.parent.iterdir()] == [REPORT]
    assert read_page(path.read_text("utf-8")).all("h1")


def test_same_outcome_same_page(outcome: CalendarResult, figures: dict[str, bytes]) -> None:
    assert report_html(outcome, figures, None) == report_html(outcome, draw_figures(outcome), None)


def test_first_sentence_is_the_verdict_and_the_source_note_follows(outcome: CalendarResult, page: Element) -> None:
    title, first, *rest = page.all("header")[0].children
    assert title.tag == "h1"
    assert "AAA, BBB" in title.text
    assert str(outcome.frames.sessions[-1]) in title.text
    assert first.text == outcome.evaluation.verdict.sentence
    assert any(outcome.source_note in element.text for element in rest)


def test_page_loads_nothing(html: str, page: Element) -> None:
    assert not page.all("script")
    assert not page.all("link")
    loaded = [(e.tag, name, value) for e in page.walk() for name, value in e.attributes.items() if name in LOADING]
    assert loaded
    for tag, name, value in loaded:
        inside = value.startswith(("data:image/png;base64,", "#"))
        assert inside or (tag, name, value) == ("a", "href", "http://127.0.0.1:5000/#/experiments/1/runs/ab")
    style = html[html.index("<style>") : html.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style


LOADING = {"src", "href", "srcset", "data", "action", "background", "poster", "xlink:href"}


def test_page_can_be_read_aloud(page: Element) -> None:
    assert page.all("html")[0].attributes["lang"] == "en"
    assert len(page.all("h1")) == 1
    assert all(len(image.attributes["alt"]) > 20 for image in page.all("img"))
    assert all(cell.attributes.get("scope") in {"row", "col"} for cell in page.all("th"))
    for table in page.all("table"):
        width = len(table.all("thead")[0].all("th"))
        assert all(len(row.all("th") + row.all("td")) == width for row in table.all("tbody")[0].all("tr"))


def test_one_fan_per_ticker(outcome: CalendarResult, page: Element) -> None:
    alts = [image.attributes["alt"] for image in page.by_id("fans").all("img")]
    assert len(alts) == len(outcome.frames.tickers)
    for ticker, alt in zip(outcome.frames.tickers, alts, strict=True):
        last = network_forecast(outcome, ticker, HORIZONS)
        assert f"of {ticker}:" in alt
        assert f"from {last['q10']:,.2f} to {last['q90']:,.2f}" in alt


def test_forecast_table_says_the_outcome_s_prices_and_dates(outcome: CalendarResult, page: Element) -> None:
    table = page.by_id("forecast").all("table")[0]
    heads = [head.text for head in table.all("thead")[0].all("th")][2:]
    rows = rows_of(table)
    for ticker in outcome.frames.tickers:
        close, *cells = rows[ticker]
        for horizon, (head, cell) in enumerate(zip(heads, cells, strict=True), start=1):
            row = network_forecast(outcome, ticker, horizon)
            assert str(row["target_session"].date()) in head
            assert f"{row['q10']:,.2f} – {row['q90']:,.2f}" in cell
            assert f"median {row['q50']:,.2f}" in cell
            assert f"{row['reference_close']:,.2f}" in close
    assert "before dividends" in page.by_id("forecast").text
    assert "Not investment advice" in page.by_id("forecast").text


def test_skill_and_p_in_the_page_are_the_outcome_s(outcome: CalendarResult, page: Element) -> None:
    evaluation = outcome.evaluation
    rows = rows_of(page.by_id("skill").all("table")[0])
    assert list(rows) == list(evaluation.backtest.opponents)
    pooled = evaluation.comparisons[
        (evaluation.comparisons["forecaster"] == NETWORK) & (evaluation.comparisons["ticker"] == POOLED)
    ]
    for test in pooled.itertuples():
        cell = rows[test.baseline][test.horizon - 1]
        number, rest = cell.split(" % ", 1)
        assert float(number.replace("−", "-")) == pytest.approx(100 * test.skill, abs=0.00501)
        assert test.conclusion in rest
        assert cell_class(page, test.baseline, test.horizon) == test.conclusion.replace(" ", "-")
        assert rest.endswith("p < 0.001" if test.p_adjusted < 0.001 else f"p = {test.p_adjusted:.3f}")


def cell_class(page: Element, baseline: str, horizon: int) -> str:
    """How the skill table colours one cell."""
    rows = page.by_id("skill").all("table")[0].all("tbody")[0].all("tr")
    (row,) = [row for row in rows if row.all("th")[0].text == baseline]
    return row.all("td")[horizon - 1].attributes["class"]


def test_scores_in_the_page_are_the_outcome_s(outcome: CalendarResult, page: Element) -> None:
    scores = outcome.evaluation.scores
    for horizon, table in enumerate(page.by_id("scores").all("table"), start=1):
        expected = scores[(scores["horizon"] == horizon) & (scores["ticker"] == POOLED)].set_index("forecaster")
        for name, cells in rows_of(table).items():
            row = expected.loc[name.removesuffix(" ★")]
            assert cells[0] == f"{1e4 * row['pinball']:.2f}"
            assert cells[3] == f"{100 * row['coverage_80']:.1f} %"
            assert cells[-1] == ("–" if np.isnan(row["directional_accuracy"]) else cells[-1])
            assert name.endswith("★") == (row["pinball"] == expected["pinball"].min())


def test_learned_class_probabilities_are_shown_with_the_frequencies(outcome: CalendarResult, page: Element) -> None:
    assert not page.has_id("direction"), "no class probabilities were learned"
    rows = [
        {"horizon": 1, "rows": 12345, "log_loss": 1.09123, "log_loss_frequencies": 1.1, "brier": 0.65,
         "brier_frequencies": 0.66, "dm_p": 0.0312, "dm_lags": 20},
        {"horizon": 2, "rows": 0, "log_loss": np.nan, "log_loss_frequencies": np.nan, "brier": np.nan,
         "brier_frequencies": np.nan, "dm_p": np.nan, "dm_lags": 20},
    ]  # fmt: skip
    evaluation = replace(outcome.evaluation, direction=pd.DataFrame(rows))
    shown = read_page(report_html(replace(outcome, evaluation=evaluation), {}, None)).by_id("direction")
    assert rows_of(shown.all("table")[0]) == {
        "1": ["12,345", "1.0912", "1.1000", "0.6500", "0.6600", "p = 0.031"],
        "2": ["0", "–", "–", "–", "–", "p –"],
    }


def test_undefined_direction_is_a_dash(page: Element) -> None:
    rows = rows_of(page.by_id("scores").all("table")[0])
    assert rows["last_close"][-1] == "–"  # its median is the last close itself
    assert rows["drift"][-1] != "–"


def test_skill_of_every_ticker_is_the_outcome_s(outcome: CalendarResult, page: Element) -> None:
    table = page.by_id("tickers").all("table")[1]
    comparisons = outcome.evaluation.comparisons
    expected = comparisons[
        (comparisons["horizon"] == HORIZONS) & (comparisons["ticker"] == "BBB") & (comparisons["forecaster"] == NETWORK)
    ]
    skill = expected.set_index("baseline")["skill"]
    assert conclusions_by_ticker(comparisons, NETWORK, HORIZONS)["BBB"] in rows_of(table)["BBB"][1]
    cells = rows_of(table)["BBB"][2:]
    for name, cell in zip(outcome.evaluation.backtest.opponents, cells, strict=True):
        assert float(cell.removesuffix(" %").replace("−", "-")) == pytest.approx(100 * skill[name], abs=0.00501)


def test_folds_table_has_real_dates_and_kept_steps(outcome: CalendarResult, page: Element) -> None:
    rows = rows_of(page.by_id("training").all("table")[0])
    first, last = outcome.folds
    assert rows[first.name][0].startswith(f"{outcome.frames.sessions[0]} to ")
    assert f"to {outcome.frames.sessions[-1]}" in rows[last.name][2]
    assert rows[last.name][3] == "30, 30"
    assert outcome.experiment.folds.describe()[1:] in page.by_id("training").text


def test_left_out_tickers_and_their_reasons_appear(page: Element) -> None:
    assert rows_of(page.by_id("excluded").all("table")[0]) == {LEFT_OUT.ticker: [LEFT_OUT.reason]}
    assert LEFT_OUT.ticker in page.all("header")[0].text


def test_what_is_not_up_to_date_and_what_to_beware_of_stand_at_the_top(outcome: CalendarResult) -> None:
    old = Stale("BBB", "2021-08-10", 2, "the source refused <b>")
    page = read_page(report_html(replace(outcome, stale=(old,), warnings=("Chosen today.",)), {}, None))
    header = page.all("header")[0].text
    assert "1 not up to date." in header
    assert "Chosen today." in header
    assert ["2021-08-10", "2", "the source refused <b>"] in [
        row for table in page.by_id("excluded").all("table") for row in rows_of(table).values()
    ]
    assert "not up to date" not in read_page(report_html(outcome, {}, None)).all("header")[0].text


def test_the_page_says_how_to_read_the_same_prices_again(outcome: CalendarResult) -> None:
    assert "--as-known 2026-10-01T22:30:05" in read_page(report_html(outcome, {}, None)).by_id("experiment").text
    other = replace(outcome, known_at=None)
    assert "as-known" not in read_page(report_html(other, {}, None)).by_id("experiment").text


def test_problems_are_capped_and_counted_and_the_grave_come_first(outcome: CalendarResult) -> None:
    many = [
        Problem("AAA", f"row {k}", "parity", Severity.TICKER if k == 70 else Severity.NOTE, "odd", "even")
        for k in range(80)
    ]
    section = read_page(report_html(replace(outcome, problems=tuple(many)), {}, None)).by_id("excluded")
    rows = section.all("table")[1].all("tbody")[0].all("tr")
    assert len(rows) == MAX_PROBLEMS
    assert "row 70" in rows[0].text
    assert f"80 problems were found in the prices; the first {MAX_PROBLEMS} are listed" in section.text


def test_age_and_unseen_tickers_are_marked(outcome: CalendarResult) -> None:
    old = replace(outcome, forecasts=small_forecasts(outcome.frames, age_sessions=2), unseen=("BBB",))
    page = read_page(report_html(old, {}, None))
    rows = page.by_id("forecast").all("table")[0].all("tbody")[0].all("tr")
    assert all("2 sessions old" in row.text for row in rows)
    assert ["not trained on" in row.text for row in rows] == [False, True]
    assert "2 sessions have closed" in page.all("header")[0].text
    assert "The model was not trained on BBB." in page.all("header")[0].text


def test_fresh_data_is_not_called_old(page: Element) -> None:
    assert "old" not in page.by_id("forecast").text
    assert "Old data" not in page.text


def test_forecast_only(outcome: CalendarResult) -> None:
    bare = only_forecast(outcome)
    page = read_page(report_html(bare, draw_figures(bare), None))
    assert "only forecast" in page.all("header")[0].children[1].text
    assert len(page.by_id("fans").all("img")) == 2
    assert not any(page.has_id(name) for name in ("skill", "scores", "calibration", "tickers", "training"))


def test_a_forecast_names_the_model_version_and_the_backtest_behind_it(outcome: CalendarResult) -> None:
    verdict = "The network is better than <b> climatology at p < 0.001. More of it."
    backtest = BacktestReference(date(2026, 9, 30), verdict, "0123456789abcdef0123456789abcdef")
    version = VersionReference("daily", 3, "There was no champion before.", backtest)
    _, lead, shown, *_ = header_of(replace(only_forecast(outcome), model_version=version))
    assert lead == "This run only forecast: it did not test the model again."
    assert shown == version.sentence
    assert shown.startswith("Version 3 of model daily; its backtest of 2026-09-30 (MLflow run 0123456789abcdef01234567")
    assert shown.endswith(f": {verdict}")
    untested = replace(version, backtest=None)
    _, lead, shown, *_ = header_of(replace(only_forecast(outcome), model_version=untested))
    assert "is in the report of the run that trained it" in lead
    assert shown == "Version 3 of model daily, without a backtest."
    assert not any(text.startswith("Version") for text in header_of(only_forecast(outcome)))


def header_of(result: CalendarResult) -> list[str]:
    """The texts at the top of a result's page."""
    return [element.text for element in read_page(report_html(result, {}, None)).all("header")[0].children]


def test_backtest_only(outcome: CalendarResult) -> None:
    bare = only_backtest(outcome)
    page = read_page(report_html(bare, draw_figures(bare), None))
    assert "backtest from" in page.all("h1")[0].text
    assert page.has_id("skill")
    assert not page.has_id("forecast")
    assert not page.has_id("fans")


def test_hostile_names_are_text(tmp_path: Path) -> None:
    hostile = small_outcome(HOSTILE, sessions=330)
    hostile = replace(
        hostile, excluded=(Exclusion("<script>x()</script>\ud800", "<img src=http://x/y>"),), unseen=HOSTILE[:1]
    )
    figures = draw_figures(hostile)
    for name, png in figures.items():
        (tmp_path / name).write_bytes(png)
    path = write_report(hostile, figures, tmp_path, "javascript:alert(1)")
    page = read_page(path.read_text("utf-8"))
    assert sorted(child.name for child in tmp_path.iterdir()) == sorted([*figures, REPORT])
    assert len(page.by_id("fans").all("img")) == len(HOSTILE)
    assert not page.all("script")
    assert not [e for e in page.walk() if "onload" in e.attributes or e.attributes.get("src", "data:")[:5] != "data:"]
    assert not [link for link in page.all("a") if "javascript" in link.attributes["href"]]
    cells = [row.all("th")[0].text for row in page.by_id("forecast").all("table")[0].all("tbody")[0].all("tr")]
    assert cells[:4] == [f"{HOSTILE[0]} not trained on", *HOSTILE[1:4]]


def test_unwritable_folder_is_a_usage_error(outcome: CalendarResult, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UsageError, match=r"cannot write .*report\.html"):
        write_report(outcome, {}, tmp_path / "file" / "folder", None)
    assert [child.name for child in tmp_path.iterdir()] == ["file"]


def test_failed_write_leaves_nothing_half_written(outcome: CalendarResult, tmp_path: Path) -> None:
    (tmp_path / REPORT / "kept").mkdir(parents=True)  # a folder in the report's place
    with pytest.raises(UsageError, match="expected a folder that you may write in"):
        write_report(outcome, {}, tmp_path, None)
    assert [child.name for child in tmp_path.iterdir()] == [REPORT]


def test_full_disk_keeps_the_earlier_report(outcome: CalendarResult, figures: dict[str, bytes], tmp_path: Path) -> None:
    before = write_report(outcome, {}, tmp_path, None).read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))  # a longer file fails as on a full disk
    try:
        with pytest.raises(UsageError, match="File too large"):
            write_report(outcome, figures, tmp_path, None)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [child.name for child in tmp_path.iterdir()] == [REPORT]
    assert (tmp_path / REPORT).read_bytes() == before


def test_report_replaces_an_earlier_one(outcome: CalendarResult, tmp_path: Path) -> None:
    write_report(outcome, {}, tmp_path, None)
    later = replace(outcome, source_note="Other prices.")
    assert "Other prices." in write_report(later, {}, tmp_path, None).read_text("utf-8")
