"""What the report says, section by section, as plain values for its template."""

import json
from collections.abc import Iterator, Mapping, Sequence

import pandas as pd

from pipeline.experiment import Experiment
from pipeline.market.bars import Problem, Severity
from pipeline.operation.result import CalendarResult
from pipeline.reporting.abstention import published_names, shown_instead
from pipeline.reporting.evidence import evidence_values
from pipeline.reporting.figures import (
    COVERAGE,
    EQUITY,
    GROUPS,
    LATEST_LOSS,
    LOSSES_BY_FOLD,
    PIT,
    RELIABILITY,
    SKILL,
    sheets_of_fans,
)
from pipeline.reporting.fold_rows import fold_table
from pipeline.reporting.forecast_rows import ForecastRow, common_sessions, forecast_rows, next_session_bands
from pipeline.wording import count_of, day, names

MOST_PROBLEMS = 50
GRAVITY = tuple(Severity)  # in the order of their definition: the gravest last

PICTURES = {
    "skill": SKILL,
    "reliability": RELIABILITY,
    "coverage": COVERAGE,
    "pit": PIT,
    "equity": EQUITY,
    "groups": GROUPS,
    "latest_loss": LATEST_LOSS,
    "losses_by_fold": LOSSES_BY_FOLD,
}

Values = dict[str, object]


def page_values(outcome: CalendarResult) -> Values:
    """Return everything that the report's template reads, but for the pictures."""
    return {
        "title": title(outcome),
        "lead": in_two(lead(outcome)),
        "source_note": outcome.source_note,
        "left_out": outcome.left_out,
        "stale": outcome.stale,
        "warnings": outcome.warnings,
        "problems": problem_list(outcome.problems),
        "problem_count": len(outcome.problems),
        "unseen": outcome.unseen,
        "forecast": None if outcome.forecasts is None else _forecast(outcome.forecasts, outcome),
        "evidence": None if outcome.evaluation is None else evidence_values(outcome.evaluation),
        "folds": fold_table(outcome.folds, outcome.results, outcome.frames.sessions),
        "folds_in_words": outcome.experiment.folds.describe(),
        "chosen_from": outcome.experiment.chosen_from,
        "settings": settings(outcome.experiment),
        "experiment_json": json.dumps(outcome.experiment.model_dump(mode="json"), indent=2),
        "known_at": f"{outcome.known_at:%Y-%m-%dT%H:%M:%S}" if outcome.known_at else "",
        "names": PICTURES,
    }


def title(outcome: CalendarResult) -> str:
    """Return the page's title: which tickers, and from when or over which time."""
    if outcome.forecasts is not None:
        tickers = list(map(str, outcome.forecasts["ticker"].unique()))
        return f"{names(tickers)}: forecast from {day(outcome.forecasts['as_of'].max())}"
    tested = outcome.evaluation.backtest.sessions if outcome.evaluation else outcome.frames.sessions
    return f"{names(outcome.frames.tickers)}: backtest from {day(tested[0])} to {day(tested[-1])}"


def lead(outcome: CalendarResult) -> str:
    """Return the first sentence: whether the model is better than the baselines, or that this run did not ask."""
    if outcome.evaluation is not None:
        return outcome.evaluation.verdict.sentence
    return (
        "This run only forecast: it did not test the model again. Whether the network is better than its baselines "
        "is said in the report of the run that trained it."
    )


def in_two(sentences: str) -> tuple[str, str]:
    """Return the first sentence and the others: what counts most, and what belongs to it."""
    first, mark, rest = sentences.partition(". ")
    return first + mark.rstrip(), rest


def problem_list(problems: Sequence[Problem]) -> Sequence[Problem]:
    """Return the problems that are listed one by one, the gravest first."""
    return sorted(problems, key=lambda problem: -GRAVITY.index(problem.severity))[:MOST_PROBLEMS]


def settings(experiment: Experiment) -> list[tuple[str, str]]:
    """Return every setting of the experiment as (name, value)."""
    return list(_flat(experiment.model_dump(mode="json"), ""))


def _flat(values: Mapping[str, object], prefix: str) -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", _setting(value)


def _setting(value: object) -> str:
    if value is None or value == []:
        return "(default)"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _forecast(forecasts: pd.DataFrame, outcome: CalendarResult) -> Values:
    model = outcome.publication.model
    rows = forecast_rows(forecasts, outcome.unseen, outcome.currencies, model)
    forecasters, bands = next_session_bands(forecasts)
    return {
        "rows": rows,
        "horizons": range(1, len(rows[0].cells) + 1),
        "common_sessions": common_sessions(rows),
        "old": old_in_words(max(row.age_sessions for row in rows), len(rows[0].cells)),
        "fans": fans_in_words(rows),
        "forecasters": forecasters,
        "bands": bands,
        "instead": shown_instead(published_names(forecasts), model),
    }


def old_in_words(age_sessions: int, horizons: int) -> str:
    """Return what the age of the oldest last close means for its forecast, nothing where it is fresh."""
    if not age_sessions:
        return ""
    verb = "has" if age_sessions == 1 else "have"
    passed = "all" if age_sessions >= horizons else "part"
    return (
        f"{count_of(age_sessions, 'session')} {verb} closed since the oldest of these last closes: {passed} of what is "
        f"forecast from it lies in the past."
    )


def fans_in_words(rows: Sequence[ForecastRow]) -> dict[str, str]:
    """Return what each figure of fans shows, by its name."""
    by_ticker = {row.ticker: row for row in rows}
    return {
        name: fan_in_words(by_ticker[tickers[0]]) if len(tickers) == 1 else f"Forecast fans of {', '.join(tickers)}."
        for name, tickers in sheets_of_fans(list(by_ticker)).items()
    }


def fan_in_words(row: ForecastRow) -> str:
    """Return what a fan shows, for those who cannot see it."""
    last = row.cells[-1]
    return (
        f"Forecast fan of {row.ticker}: last close {row.reference_close} {row.currency} on {row.as_of}; on "
        f"{last.target_session} the median is {last.median} and the 80 % band goes from {last.low} to {last.high}."
    )
