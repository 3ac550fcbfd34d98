"""What the report says, section by section, as plain values for its template."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from pipeline.evaluation.backtest import NETWORK
from pipeline.evaluation.scores import POOLED
from pipeline.evaluation.verdict import SIGNIFICANT
from pipeline.experiment import Experiment
from pipeline.market.bars import Problem
from pipeline.operation.live import network_rows
from pipeline.operation.outcome import Evaluation, Outcome
from pipeline.reporting import figures
from pipeline.reporting.evidence_rows import SCORE_COLUMNS, score_rows, skill_rows, ticker_skill_rows
from pipeline.reporting.fold_rows import fold_rows
from pipeline.reporting.forecast_rows import common_sessions, forecast_rows, next_session_bands
from pipeline.reporting.wording import count_of, day, names, percent, signed_percent

MOST_PROBLEMS = 50

Values = dict[str, object]


def page_values(outcome: Outcome) -> Values:
    """Return everything that the report's template reads, but for the pictures."""
    return {
        "title": title(outcome),
        "lead": lead(outcome),
        "source_note": outcome.source_note,
        "left_out": outcome.left_out,
        "problems": problem_list(outcome.problems),
        "problem_count": len(outcome.problems),
        "unseen": outcome.unseen,
        "forecast": None if outcome.forecasts is None else _forecast(outcome.forecasts, outcome.unseen),
        "evidence": None if outcome.evaluation is None else _evidence(outcome.evaluation),
        "folds": fold_rows(outcome.folds, outcome.results, outcome.frames.sessions),
        "folds_in_words": outcome.experiment.folds.describe(),
        "settings": settings(outcome.experiment),
        "experiment_json": json.dumps(outcome.experiment.model_dump(mode="json"), indent=2),
        "names": figures,
    }


def title(outcome: Outcome) -> str:
    """Return the page's title: which tickers, and from when or over which time."""
    if outcome.forecasts is not None:
        tickers = list(map(str, outcome.forecasts["ticker"].unique()))
        return f"{names(tickers)}: forecast from {day(outcome.forecasts['as_of'].max())}"
    tested = outcome.evaluation.backtest.sessions if outcome.evaluation else outcome.frames.sessions
    return f"{names(outcome.frames.tickers)}: backtest from {day(tested[0])} to {day(tested[-1])}"


def lead(outcome: Outcome) -> str:
    """Return the first sentence: whether the model is better than the baselines, or that this run did not ask."""
    if outcome.evaluation is not None:
        return outcome.evaluation.verdict.sentence
    return (
        "This run only forecast: it did not test the model again. Whether the network is better than its baselines "
        "is said in the report of the run that trained it."
    )


def problem_list(problems: Sequence[Problem]) -> Sequence[Problem]:
    """Return the problems that are listed one by one, those that ended a ticker's bars first."""
    return sorted(problems, key=lambda problem: not problem.fatal)[:MOST_PROBLEMS]


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
