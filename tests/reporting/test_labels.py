"""Every value of every closed set of names has its label: a new value without one fails here, not on a user's page."""

from dataclasses import replace
from typing import Any, get_args

import pytest

from pipeline.evaluation.calibration.measures import REGIMES
from pipeline.evaluation.comparisons import Conclusion
from pipeline.evaluation.echo import SHIFTS, EchoName
from pipeline.evaluation.money.positions import PASSIVE
from pipeline.evaluation.scores import POOLED
from pipeline.evaluation.specification import Abstain, TradingRule
from pipeline.forecasters.recurrent.specification import HeadSpec, RecurrentSpec
from pipeline.market.bars import Problem, Severity
from pipeline.market.specification import Process, SyntheticSource
from pipeline.operation.result import CalendarResult
from pipeline.reporting.backtest_figures import draw_equity
from pipeline.reporting.labels import COMPARISON_SYMBOLS, ECHO_LABELS, REGIME_LABELS, RULE_LABELS, SHIFT_LABELS
from pipeline.reporting.report import report_html, setting_rows
from pipeline.reporting.score_tables import echo_in_short
from pipeline.reporting.training_section import draw_latest_loss, network_fits
from pipeline.tracking.descriptions import short_verdict

from .html_pages import Element, read_page
from .outcomes import small_outcome

HEADS = get_args(get_args(HeadSpec)[0])
PASSIVE_RULES = ("buy_and_hold", "equal_weight")


def page_with(outcome: CalendarResult, **changes: Any) -> Element:
    """The page of the outcome with parts of its evaluation replaced."""
    return read_page(report_html(replace(outcome, evaluation=replace(outcome.evaluation, **changes)), {}, None))


@pytest.mark.parametrize("name", get_args(EchoName))
def test_every_name_of_an_echo(outcome: CalendarResult, name: EchoName) -> None:
    evaluation = outcome.evaluation
    echoes = {forecaster: replace(echo, name=name) for forecaster, echo in evaluation.echoes.items()}
    section = page_with(outcome, echoes=echoes).by_id("echo")
    assert section.text.count(ECHO_LABELS[name]) >= len(echoes)
    assert echo_in_short(echoes[evaluation.verdict.model]).startswith(name)


@pytest.mark.parametrize("shift", SHIFTS)
def test_every_shift_of_an_echo(outcome: CalendarResult, shift: int) -> None:
    echoes = {name: replace(echo, best_shift=shift) for name, echo in outcome.evaluation.echoes.items()}
    assert SHIFT_LABELS[shift] in page_with(outcome, echoes=echoes).by_id("echo").text


@pytest.mark.parametrize("conclusion", get_args(Conclusion))
def test_every_conclusion_of_a_comparison(outcome: CalendarResult, conclusion: Conclusion) -> None:
    evaluation = outcome.evaluation
    comparisons = evaluation.comparisons.assign(conclusion=conclusion)
    table = evaluation.summary_table
    compared = table["conclusion"].where(table["conclusion"].isna(), conclusion)
    page = page_with(outcome, comparisons=comparisons, summary_table=table.assign(conclusion=compared))
    shown = f"{COMPARISON_SYMBOLS[conclusion]} {conclusion}"
    pooled = comparisons[(comparisons["ticker"] == POOLED) & (comparisons["forecaster"] == evaluation.verdict.model)]
    assert page.by_id("skill").all("table")[0].text.count(shown) == len(pooled)
    assert shown in page.by_id("summary").text
    concluded = tuple(replace(comparison, conclusion=conclusion) for comparison in evaluation.verdict.comparisons)
    assert short_verdict(replace(evaluation.verdict, comparisons=concluded))


@pytest.mark.parametrize("regime", REGIMES)
def test_every_regime(outcome: CalendarResult, regime: str) -> None:
    table = page_with(outcome).by_id("calibration").all("table")[1]
    assert REGIME_LABELS[regime] in [row.all("th")[0].text for row in table.all("tbody")[0].all("tr")]


@pytest.mark.parametrize("rule", [*get_args(TradingRule), *PASSIVE_RULES])
def test_every_trading_rule_and_passive_portfolio(outcome: CalendarResult, rule: str) -> None:
    assert RULE_LABELS[rule] in page_with(outcome).by_id("money").all("table")[0].text
    (axes,) = draw_equity(outcome.evaluation).axes
    assert RULE_LABELS[rule] in {line.get_label() for line in axes.lines}


def test_the_passive_portfolios_are_those_of_the_simulation(outcome: CalendarResult) -> None:
    assert {result.rule for result in outcome.evaluation.money.results if result.forecaster == PASSIVE} == set(
        PASSIVE_RULES
    )


@pytest.mark.parametrize("severity", Severity)
def test_every_severity_of_a_problem(outcome: CalendarResult, severity: Severity) -> None:
    problem = Problem("AAA", "2020-01-06", "price", severity, "odd", "even")
    page = read_page(report_html(replace(outcome, problems=(problem,)), {}, None))
    assert severity.value in page.by_id("excluded").text


@pytest.mark.parametrize("abstain", get_args(Abstain))
def test_every_way_to_abstain(outcome: CalendarResult, abstain: Abstain) -> None:
    experiment = outcome.experiment.model_copy(update={"abstain": abstain})
    assert ("abstain", abstain) in setting_rows(experiment)


@pytest.mark.parametrize("process", get_args(Process))
def test_every_process_of_synthetic_prices(outcome: CalendarResult, process: Process) -> None:
    experiment = outcome.experiment.model_copy(update={"source": SyntheticSource(process=process)})
    assert ("source.process", process) in setting_rows(experiment)


@pytest.mark.parametrize("head", HEADS)
def test_every_head_has_a_loss_in_words(head: type[Any]) -> None:
    small = small_outcome()
    fold = small.folds[-1]
    fits = [replace(fitted, forecaster=RecurrentSpec(head=head())) for fitted in network_fits(small.results, fold)]
    title = draw_latest_loss(fits, fold).get_suptitle()
    assert title.startswith("Test from ")
    assert "loss" in title or "likelihood" in title
