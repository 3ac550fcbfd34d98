"""The report's sections on a backtest: every number is that of the outcome, and empty sections are absent."""

import re
from dataclasses import replace

import numpy as np
import pytest

from pipeline.evaluation.comparisons import pooled
from pipeline.evaluation.echo import Echo
from pipeline.evaluation.money.positions import PASSIVE
from pipeline.evaluation.scores import POOLED
from pipeline.evaluation.specification import MoneySpec
from pipeline.forecasting.forecasts import CALIBRATED, NETWORK
from pipeline.operation.result import CalendarResult
from pipeline.reporting.labels import REGIME_LABELS, RULE_LABELS
from pipeline.reporting.report import report_html

from .html_pages import Element, read_page
from .outcomes import HORIZONS, small_outcome

STATISTICS = 7


@pytest.fixture(scope="module")
def page(outcome: CalendarResult) -> Element:
    return page_of(outcome)


def page_of(outcome: CalendarResult) -> Element:
    return read_page(report_html(outcome, {}, None))


def cells_of(table: Element) -> list[tuple[str, list[str]]]:
    """The rows of a table's body: the header cell's text, then the texts of the others."""
    rows = table.all("tbody")[0].all("tr")
    return [(row.all("th")[0].text, [cell.text for cell in row.all("td")]) for row in rows]


def heads_of(table: Element) -> list[str]:
    return [head.text for head in table.all("thead")[0].all("th")][1:]


def number(text: str) -> float:
    """The first number of a cell."""
    return float(text.split(maxsplit=1)[0].replace("−", "-").replace(",", ""))


# --- Summary ---


def test_the_summary_has_the_statistics_with_their_errors(outcome: CalendarResult, page: Element) -> None:
    first, last = page.by_id("summary").all("table")
    for horizon, table in ((1, first), (HORIZONS, last)):
        table_of_run = outcome.evaluation.summary_table
        expected = table_of_run[table_of_run["horizon"] == horizon].set_index("forecaster")
        rows = {name.removesuffix(" the model"): cells for name, cells in cells_of(table) if "no forecast" not in name}
        assert list(rows) == list(expected.index)
        for name, cells in rows.items():
            row = expected.loc[name]
            assert cells[0] == f"{1e4 * row['pinball']:.2f} ± {1e4 * row['pinball_error']:.2f}"
            p = "p < 0.001" if row["mcs_p"] < 0.001 else f"p = {row['mcs_p']:.3f}"
            assert cells[2] == f"{'yes' if row['may_be_best'] else 'no'} {p}"
            assert cells[3] == f"{100 * row['coverage_80']:.1f} % ± {100 * row['coverage_80_error']:.1f}"
            assert cells[4] == f"{1e4 * row['winkler_80']:.2f} ± {1e4 * row['winkler_80_error']:.1f}"


def test_the_summary_has_skill_and_conclusion_of_every_model_and_of_no_baseline(
    outcome: CalendarResult, page: Element
) -> None:
    expected = outcome.evaluation.summary_table.query("horizon == 1").set_index("forecaster")
    rows = dict(cells_of(page.by_id("summary").all("table")[0]))
    for name, shown in ((NETWORK, NETWORK), (CALIBRATED, f"{CALIBRATED} the model")):
        row, cell = expected.loc[name], rows[shown][1]
        assert number(cell) == pytest.approx(100 * row["skill"], abs=0.00501)
        assert f"{row['conclusion']} over {row['best_baseline']}, p " in cell
    assert rows["ewma"][1] == ""


def test_the_summary_has_direction_rank_and_money(outcome: CalendarResult, page: Element) -> None:
    table = page.by_id("summary").all("table")[0]
    expected = outcome.evaluation.summary_table.query("horizon == 1").set_index("forecaster")
    rows, row = dict(cells_of(table)), expected.loc[CALIBRATED]
    cells = rows[f"{CALIBRATED} the model"]
    assert f"p = {row['direction_p']:.3f}" in cells[5]
    assert number(cells[6]) == pytest.approx(row["rank_ic"], abs=0.000501)
    assert f"± {row['rank_ic_error']:.3f}" in cells[6]
    for place, rule in enumerate(outcome.evaluation.money.spec.rules):
        assert heads_of(table)[STATISTICS + place] == f"Sharpe, {RULE_LABELS[rule]} net of costs"
        cell = cells[STATISTICS + place]
        assert number(cell) == pytest.approx(row[f"{rule}_sharpe"], abs=0.00501)
        assert f"± {row[f'{rule}_sharpe_error']:.2f} deflated {100 * row[f'{rule}_deflated_sharpe']:.0f} %" in cell
    assert rows["ewma"][STATISTICS] == "– never traded"


def test_buying_without_a_forecast_stands_in_the_same_table(outcome: CalendarResult, page: Element) -> None:
    money = outcome.evaluation.money_table.query("forecaster == @PASSIVE").set_index("rule")
    rows = dict(cells_of(page.by_id("summary").all("table")[0]))
    for rule, row in money.iterrows():
        cells = rows[f"{RULE_LABELS[rule]} no forecast"]
        assert number(cells[STATISTICS]) == pytest.approx(row["sharpe"], abs=0.00501)
        assert "deflated" not in cells[STATISTICS]
        assert set(cells[:STATISTICS]) == {""}


def test_money_stands_only_where_it_was_made(outcome: CalendarResult, page: Element) -> None:
    """The rules trade on one horizon: their ratios next to another horizon's statistics would say nothing."""
    last = page.by_id("summary").all("table")[1]
    assert not any("Sharpe" in head for head in heads_of(last))
    assert not any("no forecast" in name for name, _ in cells_of(last))
    evaluation = outcome.evaluation
    traded = replace(evaluation, money=replace(evaluation.money, spec=MoneySpec(horizon=2)))
    tables = page_of(replace(outcome, evaluation=traded)).by_id("summary").all("table")
    assert [any("Sharpe" in head for head in heads_of(table)) for table in tables] == [False, True, False]


def test_the_model_s_row_is_marked_and_no_other(page: Element) -> None:
    for table in page.by_id("summary").all("table"):
        marked = [row for row in table.all("tr") if row.attributes.get("class") == "network"]
        assert [row.all("th")[0].text for row in marked] == ["calibrated the model"]


def test_without_a_correction_the_network_is_the_model() -> None:
    page = page_of(small_outcome())
    names = [name for name, _ in cells_of(page.by_id("summary").all("table")[0])]
    assert names[0] == "network the model"
    assert "Is the network better" in page.by_id("skill").text
    assert not any("corrected" in name for name, _ in cells_of(page.by_id("calibration").all("table")[0]))


# --- Skill ---


def test_every_test_of_the_comparisons_is_in_the_details(outcome: CalendarResult, page: Element) -> None:
    assert "Is the calibrated forecast better" in page.by_id("skill").text
    tables = page.by_id("skill").all("details")[0].all("table")
    assert len(tables) == HORIZONS
    spa = outcome.evaluation.candidates.query("horizon == 1").set_index("forecaster")["spa_p"]
    tests = pooled(outcome.evaluation.comparisons, CALIBRATED, 1)
    heads = heads_of(tables[0])
    columns = {"p Diebold-Mariano": "p", "p, adjusted": "p_adjusted", "p, few": "p_short_lags", "p, cond": "gw_p"}
    for name, cells in cells_of(tables[0]):
        for start, column in columns.items():
            (place,) = [k for k, head in enumerate(heads) if head.startswith(start)]
            assert written(cells[place]) == pytest.approx(max(tests[column][name], 0.001), abs=0.000501)
        # Hansen's test is made for the best simple baseline alone.
        expected = spa[name]
        assert (cells[-1] in ("", "–")) == np.isnan(expected), cells[-1]
        if np.isfinite(expected):
            assert written(cells[-1]) == pytest.approx(max(expected, 0.001), abs=0.000501)
        (clark_west,) = [k for k, head in enumerate(heads) if "Clark-West" in head]
        assert (cells[clark_west] != "") == (name == "last_close")


def written(p: str) -> float:
    return float(p.removeprefix("< "))


def test_the_number_of_tested_specifications_is_given(outcome: CalendarResult, page: Element) -> None:
    assert "2 specifications tested on these sessions so far" in page.by_id("skill").text
    assert "every p is multiplied by 2. 5 were tried in total" in page.by_id("skill").text
    first = page_of(small_outcome()).by_id("skill").text
    assert "first specification tested" in first


# --- Echo ---


def test_the_echo_is_named_on_the_page(outcome: CalendarResult, page: Element) -> None:
    assert outcome.evaluation.echoes[CALIBRATED].sentence in page.by_id("echo").text
    rows = dict(cells_of(page.by_id("echo").all("table")[1]))
    assert list(rows) == list(outcome.evaluation.backtest.quantiles)
    for name, cells in rows.items():
        echo = outcome.evaluation.echoes[name]
        assert cells[1] == f"{100 * echo.moved_share:.1f} %"
        if echo.name == "persistence":
            assert cells[2:5] == ["–", "–", "–"]
        else:
            share = f"{100 * echo.explained_share:+.2f} % ± {100 * echo.explained_error:.2f}".replace("-", "−")
            assert cells[2:5] == [share, f"p = {echo.relation_p:.3f}", f"p = {min(1, 2 * echo.relation_p):.3f}"]
    caught = Echo(CALIBRATED, 1, "echo", True, 0.3, -0.3, 0.01, 0.6, 0.6, -1, "It is an echo, no more.")
    echoes = {**outcome.evaluation.echoes, CALIBRATED: caught}
    section = page_of(replace(outcome, evaluation=replace(outcome.evaluation, echoes=echoes))).by_id("echo")
    assert caught.sentence in section.text
    assert outcome.evaluation.echoes[NETWORK].sentence in section.text, "the uncorrected one is another thing now"
    (coloured,) = [cell for cell in section.all("td") if cell.attributes.get("class") == "worse"]
    assert coloured.text == "is an echo"


# --- Calibration ---


def test_with_and_without_correction_stand_side_by_side(outcome: CalendarResult, page: Element) -> None:
    rows = cells_of(page.by_id("calibration").all("table")[0])
    scores = outcome.evaluation.scores
    scores = scores[scores["ticker"] == POOLED].set_index(["horizon", "forecaster"])
    expected = [(h, name) for h in range(1, HORIZONS + 1) for name in (NETWORK, CALIBRATED)]
    assert len(rows) == len(expected)
    for (name, cells), key in zip(rows, expected, strict=True):
        row = scores.loc[key]
        assert name.startswith(f"{key[0]} session")
        assert name.endswith("corrected" if key[1] == CALIBRATED else "without correction")
        for place, band in enumerate((50, 80, 90)):
            shown = f"{100 * row[f'coverage_{band}']:.1f} % ± {100 * row[f'coverage_{band}_error']:.1f}"
            assert cells[place] == shown
        assert cells[3] == f"{1e4 * row['winkler_80']:.2f} ± {1e4 * row['winkler_80_error']:.1f}"
        assert cells[4] == f"{1e4 * row['crps']:.2f} ± {1e4 * row['crps_error']:.1f}"


def test_tickers_with_a_wrong_coverage_are_counted_as_benjamini_and_hochberg_do(
    outcome: CalendarResult, page: Element
) -> None:
    rows = cells_of(page.by_id("calibration").all("table")[0])
    every = outcome.evaluation.coverage_tests.query("band == 80").groupby(["horizon", "forecaster"])
    keys = [(h, name) for h in range(1, HORIZONS + 1) for name in (NETWORK, CALIBRATED)]
    counts = set()
    for (_, cells), key in zip(rows, keys, strict=True):
        tests = every.get_group(key)
        for cell, column in zip(cells[5:], ("kupiec_p", "christoffersen_p"), strict=True):
            p = sorted(tests[column].dropna())
            below = [k for k, value in enumerate(p, start=1) if value <= 0.05 * k / len(p)]
            assert cell == f"{max(below, default=0)} of {len(p)}"
            counts.add(cell)
    assert len(counts) > 1, "the network's band is much too narrow, the corrected one is right"


def test_coverage_by_regime_and_ticker_is_the_outcome_s(outcome: CalendarResult, page: Element) -> None:
    _, regimes, tickers = page.by_id("calibration").all("table")
    coverage = outcome.evaluation.coverage.set_index(["by", "group", "horizon", "forecaster"])["coverage_80"]
    keys = [(h, name) for h in (1, HORIZONS) for name in (NETWORK, CALIBRATED)]
    words = {label: name for name, label in REGIME_LABELS.items()}
    assert [name for name, _ in cells_of(regimes)] == list(words)
    for name, cells in cells_of(regimes):
        assert cells[1:5] == [f"{100 * coverage['regime', words[name], *key]:.1f} %" for key in keys]
    tests = outcome.evaluation.coverage_tests.query("horizon == 1 and forecaster == @CALIBRATED and band == 80")
    for name, cells in cells_of(tickers):
        assert cells[1:5] == [f"{100 * coverage['ticker', name, *key]:.1f} %" for key in keys]
        row = tests.set_index("ticker").loc[name]
        names = ("kupiec_p", "independence_p", "christoffersen_p")
        assert cells[5:] == ["p < 0.001" if row[n] < 0.001 else f"p = {row[n]:.3f}" for n in names]


# --- Money ---


def test_money_on_the_page_is_the_outcome_s(outcome: CalendarResult, page: Element) -> None:
    table = page.by_id("money").all("table")[0]
    rows, heads = dict(cells_of(table)), heads_of(table)
    for _, row in outcome.evaluation.money_table.iterrows():
        if row["forecaster"] not in (CALIBRATED, PASSIVE):
            continue
        benchmark = row["forecaster"] == PASSIVE
        cells = dict(zip(heads, rows[RULE_LABELS[row["rule"]] + " no forecast" * benchmark], strict=True))
        assert number(cells["Return a year"]) == pytest.approx(100 * row["yearly_return"], abs=0.0501)
        assert f"gross {100 * row['yearly_gross_return']:+.1f}".replace("-", "−") in cells["Return a year"]
        assert number(cells["Volatility a year"]) == pytest.approx(100 * row["yearly_volatility"], abs=0.0501)
        assert number(cells["Sharpe a year"]) == pytest.approx(row["sharpe"], abs=0.00501)
        assert cells["Sharpe a year"].endswith(f"± {row['sharpe_error']:.2f}")
        assert cells["Deflated Sharpe probability"] == ("" if benchmark else f"{100 * row['deflated_sharpe']:.0f} %")
        assert number(cells["Sortino a year"]) == pytest.approx(row["sortino"], abs=0.00501)
        assert number(cells["Maximum drawdown"]) == pytest.approx(100 * row["max_drawdown"], abs=0.0501)
        assert str(row["drawdown_since"])[:7] in cells["Maximum drawdown"]
        assert number(cells["Sessions with a gain"]) == pytest.approx(100 * row["hit_rate"], abs=0.0501)
        assert number(cells["Invested mean"]) == pytest.approx(100 * row["gross_exposure"], abs=0.501)
        assert number(cells["Turnover × a year"]) == pytest.approx(row["turnover_per_year"], abs=0.0501)
        assert number(cells["Costs a year"]) == pytest.approx(100 * row["costs_per_year"], abs=0.00501)


def test_every_other_forecaster_s_money_is_in_the_details(outcome: CalendarResult, page: Element) -> None:
    rows = dict(cells_of(page.by_id("money").all("details")[0].all("table")[0]))
    others = outcome.evaluation.money_table.query("forecaster != @CALIBRATED and forecaster != @PASSIVE")
    assert list(rows) == [f"{row.forecaster}, {RULE_LABELS[row.rule]}" for row in others.itertuples()]
    assert rows["ewma, long only"][0] == "– never traded"


def test_rules_and_caveats_are_next_to_the_money(outcome: CalendarResult, page: Element) -> None:
    text = page.by_id("money").text
    assert outcome.evaluation.money.spec.describe() in text
    for sentence in (*outcome.evaluation.money.caveats, *outcome.warnings):
        assert sentence in text
    assert "expected maximum of 15 trials" in text, "five specifications with three rules each"


def test_how_it_was_chosen_is_stated_with_verdict_and_money(outcome: CalendarResult) -> None:
    chosen = outcome.experiment.model_copy(update={"trials": 40})
    page = page_of(replace(outcome, experiment=chosen))
    assert chosen.chosen_from in page.all("header")[0].text
    assert chosen.chosen_from in page.by_id("money").text


def test_ranking_on_the_page_is_the_outcome_s(outcome: CalendarResult, page: Element) -> None:
    rows = dict(cells_of(page.by_id("money").all("table")[1]))
    ranking = outcome.evaluation.ranking.query("forecaster == @CALIBRATED and horizon == 1").iloc[0]
    cells = rows[f"{CALIBRATED} 1 session ahead"]
    assert number(cells[0]) == pytest.approx(ranking["ic"], abs=0.000501)
    assert number(cells[1]) == pytest.approx(ranking["rank_ic"], abs=0.000501)
    assert number(cells[2]) == pytest.approx(ranking["icir"], abs=0.00501)
    assert number(cells[3]) == pytest.approx(1e4 * ranking["spread"], abs=0.0501)
    assert cells[4] == f"{ranking['sessions']:,}"
    assert not any(name.startswith("ewma") for name in rows), "it says the same of every ticker"


def test_the_tiles_have_money_and_buy_and_hold(outcome: CalendarResult, page: Element) -> None:
    money = outcome.evaluation.money_table.set_index(["forecaster", "rule"])
    long_only, buy_and_hold = money.loc[(CALIBRATED, "long_only")], money.loc[(PASSIVE, "buy_and_hold")]
    header = page.all("header")[0].text.replace("−", "-")
    assert (
        f"{long_only['sharpe']:+.2f} ± {long_only['sharpe_error']:.2f} buy and hold {buy_and_hold['sharpe']:+.2f}"
        in header
    )


# --- Nothing to show ---


def test_sections_are_absent_where_there_is_nothing(outcome: CalendarResult) -> None:
    money = replace(outcome.evaluation.money, opened=outcome.evaluation.money.opened[:1])
    page = page_of(replace(outcome, evaluation=replace(outcome.evaluation, money=money)))
    assert not page.has_id("money")
    assert page.has_id("summary")
    few = page_of(small_outcome())
    assert "rank the tickers?" not in few.by_id("money").text, "two tickers have no order worth the name"
    ranks = [head for table in few.by_id("summary").all("table") for head in heads_of(table) if "Rank" in head]
    assert ranks == [], "a column without any number is left out"


def test_nobody_may_be_the_best_where_nothing_was_compared(outcome: CalendarResult) -> None:
    table = outcome.evaluation.summary_table.assign(mcs_p=np.nan, may_be_best=True)
    page = page_of(replace(outcome, evaluation=replace(outcome.evaluation, summary_table=table)))
    assert "May be the best" not in heads_of(page.by_id("summary").all("table")[0])


def test_undefined_numbers_are_dashes_and_never_nan(outcome: CalendarResult) -> None:
    scores = outcome.evaluation.scores.copy()
    numeric = [name for name in scores.columns if name.endswith("_error")]
    scores[numeric] = np.nan
    text = page_of(replace(outcome, evaluation=replace(outcome.evaluation, scores=scores))).text
    assert not re.search(r"\bnan\b", text, re.IGNORECASE)


def test_a_horizon_without_any_outcome_has_no_table(outcome: CalendarResult) -> None:
    """A test shorter than H sessions: nothing is said of what nobody knows."""
    backtest = outcome.evaluation.backtest
    realised = backtest.realised.copy()
    realised[..., -1] = np.nan
    short = replace(outcome.evaluation, backtest=replace(backtest, realised=realised))
    page = page_of(replace(outcome, evaluation=short))
    captions = [table.all("caption")[0].text for table in page.by_id("summary").all("table")]
    assert [caption.split(",")[0] for caption in captions] == ["1 session ahead", f"{HORIZONS - 1} sessions ahead"]


def test_every_table_of_evidence_can_be_read_aloud_and_has_a_region_of_its_own(page: Element) -> None:
    """On a narrow screen a table scrolls within its region, which a keyboard reaches and a reader names."""
    regions = [element for element in page.walk() if element.attributes.get("role") == "region"]
    assert sorted(id(table) for region in regions for table in region.all("table")) == sorted(
        map(id, page.all("table"))
    )
    assert all(region.attributes["aria-label"] and region.attributes["tabindex"] == "0" for region in regions)
    for table in page.all("table"):
        width = len(table.all("thead")[0].all("th"))
        assert all(len(row.all("th") + row.all("td")) == width for row in table.all("tbody")[0].all("tr"))
        assert all(cell.attributes.get("scope") in {"row", "col"} for cell in table.all("th"))


def test_the_gain_of_the_median_is_on_the_page_before_and_after(outcome: CalendarResult, page: Element) -> None:
    rows = dict(cells_of(page.by_id("echo").all("table")[0]))
    medians = outcome.evaluation.medians.set_index(["horizon", "forecaster"])
    assert len(rows) == HORIZONS
    for horizon, (name, cells) in enumerate(rows.items(), 1):
        assert name == ("1 session ahead" if horizon == 1 else f"{horizon} sessions ahead")
        for cell, forecaster in zip(cells, (NETWORK, CALIBRATED), strict=True):
            assert number(cell) == pytest.approx(100 * medians.loc[(horizon, forecaster), "r2"], abs=0.00501)
            assert f"{100 * medians.loc[(horizon, forecaster), 'r2_error']:.2f}" in cell
