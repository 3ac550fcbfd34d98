"""The tags, note and metrics of a run are those of its outcome, and its table of forecasts is the published one."""

from dataclasses import replace
from typing import get_args

import pytest

from pipeline.evaluation.echo import EchoName
from pipeline.evaluation.evaluation import Evaluation
from pipeline.evaluation.money.positions import PASSIVE
from pipeline.evaluation.scores import POOLED
from pipeline.evaluation.trials import Trials
from pipeline.forecasting.forecasts import CALIBRATED, NETWORK
from pipeline.operation.publication import Publication, published_rows
from pipeline.operation.result import CalendarResult
from pipeline.reporting.forecast_tables import baseline_substitutions, published_forecasters
from pipeline.tracking.descriptions import final_note, final_tags
from pipeline.tracking.metrics import MONEY, evaluation_values, money_values
from tests.reporting.outcomes import only_backtest, only_forecast, published, rich_outcome, small_outcome

MIXED = Publication(
    CALIBRATED,
    {1: "ewma", 2: CALIBRATED, 3: "linear"},
    {1: {"AAA": CALIBRATED, "BBB": "linear", "CCC": "ewma"}},
)


@pytest.fixture(scope="module")
def outcome() -> CalendarResult:
    return rich_outcome()


def evaluation_of(outcome: CalendarResult) -> Evaluation:
    assert outcome.evaluation
    return outcome.evaluation


def with_evidence(outcome: CalendarResult, **changes: object) -> CalendarResult:
    """The outcome with another echo in its verdict, or other trials."""
    evaluation = evaluation_of(outcome)
    if "echo" in changes:
        echo = replace(evaluation.verdict.echo, name=changes["echo"])
        evaluation = replace(evaluation, verdict=replace(evaluation.verdict, echo=echo))
    if "trials" in changes:
        evaluation = replace(evaluation, trials=changes["trials"])
    return replace(outcome, evaluation=evaluation)


def publishing(outcome: CalendarResult, chosen: Publication) -> CalendarResult:
    assert outcome.forecasts is not None
    return replace(outcome, publication=chosen, forecasts=published(outcome.forecasts, chosen))


@pytest.mark.parametrize("name", get_args(EchoName))
def test_the_tag_says_what_the_models_median_is(outcome: CalendarResult, name: EchoName) -> None:
    assert final_tags(with_evidence(outcome, echo=name))["tapecast.echo"] == name


@pytest.mark.parametrize(("tested", "tuned"), [(1, 1), (7, 1), (3, 40), (1, 9)])
def test_the_tag_says_how_many_were_tested(outcome: CalendarResult, tested: int, tuned: int) -> None:
    assert final_tags(with_evidence(outcome, trials=Trials(tested, tuned)))["tapecast.tested_specifications"] == str(
        tested
    )


@pytest.mark.parametrize(
    ("pooled", "expected"),
    [
        (None, None),
        ({1: CALIBRATED, 2: CALIBRATED, 3: CALIBRATED}, None),
        ({1: CALIBRATED, 2: "ewma", 3: "linear"}, "h2 h3"),
        ({1: "ewma", 2: CALIBRATED, 3: CALIBRATED}, "h1"),
    ],
)
def test_the_tag_says_at_which_horizons_it_abstained(
    outcome: CalendarResult, pooled: dict[int, str] | None, expected: str | None
) -> None:
    chosen = Publication(CALIBRATED, pooled)
    for result in (publishing(outcome, chosen), replace(only_backtest(outcome), publication=chosen)):
        assert final_tags(result).get("tapecast.baseline_substitutions") == expected


def test_a_horizon_at_which_one_ticker_has_a_baseline_is_in_the_tag(outcome: CalendarResult) -> None:
    chosen = Publication(CALIBRATED, dict.fromkeys((1, 2, 3), CALIBRATED), {2: {"BBB": "ewma"}})
    assert final_tags(publishing(outcome, chosen))["tapecast.baseline_substitutions"] == "h2"


def test_a_forecast_alone_says_nothing_of_a_test_and_still_where_it_abstained(outcome: CalendarResult) -> None:
    tags = final_tags(only_forecast(publishing(outcome, MIXED)))
    assert not {"tapecast.verdict", "tapecast.echo", "tapecast.tested_specifications"} & set(tags)
    assert tags["tapecast.baseline_substitutions"] == "h1 h3"


def next_session(outcome: CalendarResult) -> list[dict[str, str]]:
    """The rows of the note's table of the next session, by column."""
    after = final_note("run", outcome, []).split("**Forecast of the next session**\n\n")[1]
    lines = after.split("\n\n")[0].splitlines()
    head, _, *rows = [[cell.replace("&nbsp;", "").strip() for cell in line.strip("|").split("|")] for line in lines]
    return [dict(zip(head, row, strict=True)) for row in rows]


@pytest.mark.parametrize("chosen", [MIXED, Publication(CALIBRATED), Publication(CALIBRATED, {1: "linear"})])
def test_the_table_of_the_next_session_is_what_is_published_and_names_it(
    outcome: CalendarResult, chosen: Publication
) -> None:
    result = publishing(outcome, chosen)
    assert result.forecasts is not None
    rows = published_rows(result.forecasts)
    wanted = rows[rows["horizon"] == 1]
    note_rows = next_session(result)
    assert [row["ticker"] for row in note_rows] == list(wanted["ticker"]) == list(outcome.frames.tickers)
    assert [row["forecaster"] for row in note_rows] == [chosen.forecaster(row["ticker"], 1) for row in note_rows]
    for row, (_, expected) in zip(note_rows, wanted.iterrows(), strict=True):
        assert row["10 %"] == f"{expected['q10']:.2f}"
        assert row["median"] == f"{expected['q50']:.2f}"
        assert row["90 %"] == f"{expected['q90']:.2f}"


def test_the_note_says_in_words_where_a_baseline_is_shown(outcome: CalendarResult) -> None:
    result = publishing(outcome, MIXED)
    assert result.forecasts is not None
    sentences = baseline_substitutions(published_forecasters(result.forecasts), CALIBRATED)
    assert len(sentences) == 3
    for note in (final_note("run", result, []), final_note("forecast", only_forecast(result), [])):
        assert all(sentence in note for sentence in sentences)
    assert "has not shown skill" not in final_note("run", publishing(outcome, Publication(CALIBRATED)), [])


def test_money_is_that_of_the_model_and_of_buying_without_one(outcome: CalendarResult) -> None:
    evaluation = evaluation_of(outcome)
    table = evaluation.money_table.set_index(["forecaster", "rule"])
    rules = {name: set(table.loc[name].index) for name in (CALIBRATED, PASSIVE)}
    points = {point.key: point.value for point in money_values(evaluation)}
    assert {*points} == {
        f"money/{name}/{rule}/{of}" for name, rule_names in rules.items() for rule in rule_names for of in MONEY
    }
    for key, value in points.items():
        _, name, rule, of = key.split("/")
        assert value == pytest.approx(table.loc[(name, rule), of], nan_ok=True)
    assert (table.loc[CALIBRATED, "yearly_return"] != table.loc[NETWORK, "yearly_return"]).any()  # not the network's
    assert {point.key for point in money_values(evaluation)} <= {point.key for point in evaluation_values(evaluation)}


def test_without_a_correction_money_is_the_networks() -> None:
    evaluation = evaluation_of(small_outcome())
    assert {point.key.split("/")[1] for point in money_values(evaluation)} == {NETWORK, PASSIVE}


def test_skill_and_p_are_the_models_and_adjusted(outcome: CalendarResult) -> None:
    """Of the corrected network, not of the one as it came, and raised for the specification tested before it."""
    evaluation = evaluation_of(outcome)
    comparisons = evaluation.comparisons[evaluation.comparisons["ticker"] == POOLED]
    points = {point.key: point.value for point in evaluation_values(evaluation)}
    for row in comparisons[comparisons["forecaster"] == CALIBRATED].to_dict("records"):
        of = f"h{row['horizon']}/{{}}/{row['baseline']}"
        assert points[of.format("skill")] == pytest.approx(row["skill"], nan_ok=True)
        assert points[of.format("dm_p")] == pytest.approx(row["p_adjusted"], nan_ok=True)


def test_what_the_median_explains_is_a_metric_and_in_tag_and_note(outcome: CalendarResult) -> None:
    verdict = evaluation_of(outcome).verdict
    points = {point.key: point.value for point in evaluation_values(evaluation_of(outcome))}
    for name in ("moved_share", "explained_share", "explained_error", "relation_p", "relation_p_adjusted"):
        assert points[f"h1/median/{name}"] == getattr(verdict.echo, name)
    assert verdict.echo.sentence in verdict.sentence
    assert final_tags(outcome)["tapecast.verdict_sentence"] == verdict.sentence
    assert verdict.echo.sentence in final_note("run", outcome, [])
