"""The section on the combination: its figure, its tables, and what it says of the network and of every forecaster."""

import numpy as np
import pytest

from pipeline.evaluation.contribution import share_table
from pipeline.operation.result import CalendarResult
from pipeline.reporting.combination_section import draw_weights
from pipeline.reporting.figures import draw_figures
from pipeline.reporting.forecast_tables import live_shares
from pipeline.reporting.report import report_html
from pipeline.wording import percent

from .html_pages import Element, read_page
from .outcomes import HORIZONS, MEMBERS, combined_outcome, only_forecast, small_outcome


@pytest.fixture(scope="module")
def outcome() -> CalendarResult:
    return combined_outcome()


@pytest.fixture(scope="module")
def page(outcome: CalendarResult) -> Element:
    return read_page(report_html(outcome, {}, None))


def cells_of(table: Element) -> dict[str, list[str]]:
    rows = table.all("tbody")[0].all("tr")
    return {row.all("th")[0].text: [cell.text for cell in row.all("td")] for row in rows}


def test_the_table_has_every_member_with_its_shares_and_silence(outcome: CalendarResult, page: Element) -> None:
    assert outcome.evaluation is not None
    members, network = page.by_id("combination").all("table")
    shares = share_table(outcome.evaluation.backtest).set_index(["horizon", "forecaster"])
    for member, cells in cells_of(members).items():
        expected = [percent(shares.loc[h, member][name]) for h in (1, HORIZONS) for name in ("share", "last", "silent")]
        assert cells == expected
    assert set(cells_of(members)) == set(MEMBERS)
    assert shares.loc[1, "linear"]["silent"] > 0.05
    assert len(cells_of(network)) == HORIZONS
    for found, (name, cells) in zip(outcome.evaluation.contributions, cells_of(network).items(), strict=True):
        assert name.startswith(f"{found.horizon} session")
        assert found.conclusion in cells[1]
        assert cells[2] == percent(found.shares["network"])


def test_the_second_sentence_of_the_page_is_what_the_network_adds(outcome: CalendarResult, page: Element) -> None:
    assert outcome.evaluation is not None
    lead = page.all("header")[0].text
    first, second = (
        lead.index("The combination is better than climatology"),
        lead.index("The network adds to the combination"),
    )
    assert first < second < lead.index("Ticker by ticker")
    assert "The network adds to the combination: without it the loss" in page.by_id("combination").text


def test_the_forecast_says_what_its_bands_come_from(outcome: CalendarResult, page: Element) -> None:
    assert outcome.weights is not None
    sentences = live_shares(outcome.weights)
    assert [sentence.split(" band")[0] for sentence in sentences] == ["Of the 1-session", f"Of the {HORIZONS}-session"]
    for sentence in sentences:
        assert sentence in page.by_id("forecast").text
        shares = [float(part.split(" %")[0].split()[-1]) for part in sentence.split("from ")[:-1]]
        assert sum(shares) == pytest.approx(100, abs=2)
    assert live_shares(None) == []
    alone = read_page(report_html(only_forecast(outcome), {}, None))
    assert sentences[0] in alone.by_id("forecast").text


def test_the_figure_has_a_panel_per_horizon_whose_areas_fill_it(outcome: CalendarResult) -> None:
    assert outcome.evaluation is not None
    weights = outcome.evaluation.backtest.weights
    assert weights is not None
    figure = draw_weights(weights, (1, HORIZONS))
    assert len(figure.axes) == 2
    for axes, horizon in zip(figure.axes, (1, HORIZONS), strict=True):
        tops = [area.get_paths()[0].vertices[:, 1].max() for area in axes.collections]
        assert len(tops) == len(MEMBERS)
        assert tops[-1] == pytest.approx(100, abs=1e-3)
        first = 100 * weights.smoothed(horizon)[:, 0]
        assert tops[0] == pytest.approx(first.max(), rel=1e-4)
    assert "weights.png" in draw_figures(outcome)


def test_without_a_combination_there_is_no_section() -> None:
    plain = small_outcome()
    page = read_page(report_html(plain, {}, None))
    assert not page.has_id("combination")
    assert "weights.png" not in draw_figures(plain)
    assert np.isfinite(plain.evaluation.scores["pinball"]).any()
