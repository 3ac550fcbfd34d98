"""The result of a finished run on the terminal."""

from dataclasses import replace
from datetime import date
from io import StringIO

import pandas as pd
import pytest
from rich.console import Console

from flows.artifacts import markdown
from flows.cli.rendering import show_after_found, show_found, show_result
from pipeline.evaluation.echo import relation_of
from pipeline.evaluation.evaluation import Evaluation
from pipeline.evaluation.money.positions import PASSIVE
from pipeline.forecasting.forecasts import CALIBRATED, NETWORK
from pipeline.market.bars import CalendarMismatch, Exclusion, Stale
from pipeline.operation.model import BacktestReference, VersionReference
from pipeline.operation.publication import Publication
from pipeline.operation.result import CalendarResult
from pipeline.reporting.report import report_html
from pipeline.tracking.descriptions import final_note, final_tags
from tests.reporting.html_pages import read_page
from tests.reporting.outcomes import HORIZONS, only_backtest, only_forecast, published
from tests.workflow.builders import recorded_result


def printed(result: CalendarResult, width: int = 80) -> str:
    """What a person sees on a terminal of this width."""
    output = StringIO()
    show_result(Console(file=output, width=width), recorded_result(result))
    return output.getvalue()


def test_what_is_shown_before_and_after_the_record_is_the_whole_result(outcome: CalendarResult) -> None:
    result, output = recorded_result(outcome), StringIO()
    console = Console(file=output, width=80)
    show_found(console, result.calendars[0])
    early = output.getvalue()
    assert "Forecast as of" in early
    assert "Report " not in early
    show_after_found(console, result)
    assert output.getvalue() == printed(outcome)


def test_the_terminal_leads_with_the_verdict_and_marks_the_model(
    outcome: CalendarResult, evaluation: Evaluation
) -> None:
    lines = printed(outcome, width=2000).splitlines()
    sentences = [line for line in lines if line.strip()]
    assert sentences[0] == evaluation.verdict.sentence
    rows = [line for line in lines if line.startswith("│")]
    assert [line.split("│")[1].strip() for line in rows if " * " in line] == [f"{CALIBRATED} *"]
    scores = evaluation.scores.query("horizon == 1 and ticker == 'all tickers'").set_index("forecaster")
    (network,) = [line for line in rows if line.startswith(f"│ {NETWORK} ")]
    row = scores.loc[NETWORK]
    assert f"{1e4 * row['pinball']:.2f} ± {1e4 * row['pinball_error']:.2f}" in network
    assert f"{100 * row['coverage_80']:.1f} ± {100 * row['coverage_80_error']:.1f} %" in network


def test_a_wrong_calendar_comes_before_the_verdict(outcome: CalendarResult) -> None:
    mismatch = CalendarMismatch("XNYS", 2, 2, ("2024-01-15",), (), "XTSE", ("AAA.TO",))
    lines = printed(replace(outcome, calendar_mismatches=(mismatch,)), width=2000).splitlines()
    assert next(line for line in lines if line.strip()) == f"wrong calendar? {mismatch}"


def test_the_terminal_has_a_line_on_the_median_and_one_on_money(
    outcome: CalendarResult, evaluation: Evaluation
) -> None:
    text = printed(outcome)
    echo = evaluation.verdict.echo
    assert f"Echo    {echo.name}: the variance of the median's changes is {100 * echo.moved_share:.1f} %" in text
    money = evaluation.money_table.set_index(["forecaster", "rule"])
    long_only, buy_and_hold = (money.xs(key) for key in ((CALIBRATED, "long_only"), (PASSIVE, "buy_and_hold")))
    (line,) = [line for line in text.splitlines() if line.startswith("Money")]
    expected = (
        f"Sharpe, long only, net of costs {long_only['sharpe']:+.2f} ± {long_only['sharpe_error']:.2f}; "
        f"buy and hold {buy_and_hold['sharpe']:+.2f} ± {buy_and_hold['sharpe_error']:.2f}"
    )
    assert line.removeprefix("Money").strip() == expected.replace("-", "−")


def test_nothing_is_cut_off_on_eighty_columns(outcome: CalendarResult) -> None:
    assert "…" not in printed(only_backtest(outcome))
    assert max(map(len, printed(only_backtest(outcome)).splitlines())) <= 120


def test_the_terminal_names_the_baseline_that_is_shown(outcome: CalendarResult, forecasts: pd.DataFrame) -> None:
    chosen = Publication(CALIBRATED, dict.fromkeys(range(1, HORIZONS + 1), "ewma"))
    shown = replace(outcome, publication=chosen, forecasts=published(forecasts, chosen))
    text = " ".join(printed(shown).split())
    assert "Shown Baseline ewma is shown 1 to 3 sessions ahead: the calibrated forecast has not shown skill" in text
    ewma = forecasts.query("ticker == 'AAA' and horizon == 1 and forecaster == 'ewma'").iloc[0]
    assert f"{ewma['q10']:.2f}…{ewma['q90']:.2f}" in text
    assert "Shown" not in printed(outcome)


def test_missing_tickers_are_reported_in_the_same_sentences_on_the_terminal_and_in_the_artifact(
    outcome: CalendarResult,
) -> None:
    missing = replace(
        outcome,
        excluded=(Exclusion("BAD", "found [no] prices"),),
        stale=(Stale("AAA", "2021-08-09", 2, "no answer"),),
        unseen=("BBB",),
    )
    terminal, artifact = printed(missing, width=2000), markdown(recorded_result(missing))
    for sentence in (
        "BAD was excluded: found [no] prices",
        "AAA is not up to date, its last bar is 2 sessions old: no answer",
        "The model was not trained on BBB.",
    ):
        assert sentence in terminal
        assert sentence in artifact.replace("**", "")


def test_a_forecast_names_its_version_and_the_backtest_behind_it(outcome: CalendarResult) -> None:
    backtest = BacktestReference(date(2024, 1, 2), "The network [is] better.", "abcd")
    version = VersionReference("mine", 3, "Champion: XNYS: it is better.", backtest)
    shown = replace(only_forecast(outcome), model_version=version)
    sentence = "Version 3 of model mine; its backtest of 2024-01-02 (MLflow run abcd): The network [is] better."
    assert f"Model   {sentence}" in printed(shown, width=2000)
    assert sentence in markdown(recorded_result(shown))
    assert sentence in final_note("forecast", shown, [])
    assert final_tags(shown)["tapecast.model_version"] == "mine 3"
    run = replace(outcome, model_version=version)
    assert "Model   Published as version 3 of model mine. Champion: XNYS: it is better." in printed(run, width=2000)
    assert "Model   " not in printed(outcome, width=2000)
    assert "tapecast.model_version" not in final_tags(outcome)


def test_the_terminal_has_no_line_on_money_without_a_backtest(outcome: CalendarResult) -> None:
    assert "Money" not in printed(only_forecast(outcome))


WORDS = (
    "explains 0.03 % of the variance of the realised changes 1 session ahead "
    "(± 0.02 %, p = 0.008 adjusted for what was tried, p = 0.004 alone)"
)


@pytest.fixture(scope="module")
def informing(outcome: CalendarResult, evaluation: Evaluation) -> CalendarResult:
    """The outcome with a median that explains a little."""
    before = evaluation.verdict
    numbers = {"explained_share": 0.0003, "explained_error": 0.0002, "relation_p": 0.004, "relation_p_adjusted": 0.008}
    echo = replace(before.echo, name="informs", **numbers, sentence=f"The median {WORDS}.")
    verdict = replace(before, echo=echo, sentence=before.sentence.replace(before.echo.sentence, echo.sentence))
    echoes = {**evaluation.echoes, CALIBRATED: echo}
    return replace(outcome, evaluation=replace(evaluation, verdict=verdict, echoes=echoes))


def test_what_the_median_explains_is_said_alike_everywhere(informing: CalendarResult) -> None:
    """The words are made in one place; terminal, JSON, page, MLflow's note and tag and Prefect's artifact have them."""
    result = recorded_result(informing)
    terminal = printed(informing, width=2000)
    assert f"Echo    informs: {WORDS}\n" in terminal
    assert relation_of(informing.evaluation.verdict.echo) == WORDS
    page = read_page(report_html(informing, {}, None))
    renderings = (
        terminal,
        result.as_json()["verdict"],
        result.as_json()["echo_in_short"],
        page.all("header")[0].text,
        page.by_id("echo").text,
        final_note("run", informing, []),
        final_tags(informing)["tapecast.verdict_sentence"],
        markdown(result),
    )
    assert all(WORDS in text for text in renderings)
    assert "+0.03 % ± 0.02" in page.by_id("echo").text
