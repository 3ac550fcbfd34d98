"""A baseline that is published in the model's place is named with each of its forecasts."""

from dataclasses import replace

import numpy as np
import pytest

from pipeline.forecasting.forecasts import CALIBRATED, NETWORK
from pipeline.operation.publication import Publication
from pipeline.operation.result import CalendarResult
from pipeline.reporting.fans import draw_fan, draw_sheet, fans
from pipeline.reporting.forecast_tables import baseline_substitutions
from pipeline.reporting.report import report_html

from .html_pages import read_page
from .outcomes import HORIZONS, published, small_outcome

MIXED = Publication(NETWORK, {1: "ewma", 2: NETWORK, 3: "ewma"}, {3: {"BBB": NETWORK}})


@pytest.fixture(scope="module")
def outcome() -> CalendarResult:
    return small_outcome()


def under(outcome: CalendarResult, chosen: Publication) -> CalendarResult:
    """The outcome with another publication."""
    return replace(outcome, publication=chosen, forecasts=published(outcome.forecasts, chosen))


def rows(names: dict[str, list[str]]) -> list[tuple[str, int, str]]:
    return [(ticker, h, name) for ticker, by_horizon in names.items() for h, name in enumerate(by_horizon, start=1)]


def test_nothing_is_said_of_the_model() -> None:
    assert baseline_substitutions(rows({"A": [NETWORK] * 3}), NETWORK) == []


def test_a_sentence_per_baseline_says_where() -> None:
    both = rows({"A": ["ewma", "ewma", "ewma"], "B": ["ewma", "ewma", "ewma"]})
    assert baseline_substitutions(both, CALIBRATED) == [
        "Baseline ewma is shown 1 to 3 sessions ahead: the calibrated forecast has not shown skill at these horizons."
    ]
    assert baseline_substitutions(rows({"A": [NETWORK, "ewma"], "B": [NETWORK, NETWORK]}), NETWORK) == [
        "Baseline ewma is shown for A 2 sessions ahead: the network has not shown skill at this horizon."
    ]
    found = baseline_substitutions(rows({"A": ["drift", NETWORK, "ewma"], "B": ["linear", NETWORK, "ewma"]}), NETWORK)
    assert [sentence.split(" ahead")[0] for sentence in found] == [
        "Baseline drift is shown for A 1 session",
        "Baseline linear is shown for B 1 session",
        "Baseline ewma is shown 3 sessions",
    ]


def test_the_page_says_so_at_the_top_and_in_every_cell(outcome: CalendarResult) -> None:
    page = read_page(report_html(under(outcome, MIXED), {}, None))
    header = page.all("header")[0].text
    assert "A baseline is shown. Baseline ewma is shown 1 session ahead: the network has not shown" in header
    assert "Baseline ewma is shown for AAA 3 sessions ahead" in header
    table = page.by_id("forecast").all("table")[0].all("tbody")[0]
    said = {
        row.all("th")[0].text: ["baseline ewma" in cell.text for cell in row.all("td")[1:]] for row in table.all("tr")
    }
    assert said == {"AAA": [True, False, True], "BBB": [True, False, False]}
    ewma = outcome.forecasts.query("ticker == 'AAA' and horizon == 1 and forecaster == 'ewma'").iloc[0]
    assert f"{ewma['q10']:,.2f} – {ewma['q90']:,.2f}" in table.all("tr")[0].all("td")[1].text


def test_a_page_of_the_model_alone_mentions_no_baseline_shown(outcome: CalendarResult) -> None:
    page = read_page(report_html(outcome, {}, None))
    assert "A baseline is shown" not in page.text
    assert not any("baseline ewma" in cell.text for cell in page.by_id("forecast").all("td"))


def test_a_fan_of_several_forecasters_goes_on_in_time_and_names_them(outcome: CalendarResult) -> None:
    mixed = under(outcome, MIXED)
    first, second = fans(mixed.forecasts, mixed.frames, mixed.currencies, NETWORK)
    assert (np.diff(first.targets) > np.timedelta64(0, "D")).all(), "the table has a forecaster's rows together"
    assert first.substitution == "shown: baseline ewma at +1, +3"
    assert second.substitution == "shown: baseline ewma at +1"
    assert first.substitution in {text.get_text() for text in draw_fan(first).axes[0].texts}
    everywhere = under(outcome, Publication(NETWORK, dict.fromkeys(range(1, HORIZONS + 1), "ewma")))
    (whole, _) = fans(everywhere.forecasts, everywhere.frames, everywhere.currencies, NETWORK)
    assert whole.substitution == "baseline ewma is shown"
    (plain, _) = fans(outcome.forecasts, outcome.frames, outcome.currencies, NETWORK)
    assert plain.substitution == ""
    assert [axes.get_title("left") for axes in draw_sheet([first, plain]).axes] == ["AAA *", "AAA"]
