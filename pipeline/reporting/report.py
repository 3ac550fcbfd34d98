"""The report: one HTML file that loads nothing, and the plain values that its template reads."""

import json
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pipeline.experiment import Experiment
from pipeline.files import write_whole
from pipeline.market.bars import Problem, Severity
from pipeline.operation.result import CalendarResult
from pipeline.reporting.evidence import TemplateValues, evidence_values
from pipeline.reporting.figures import (
    COVERAGE,
    EQUITY,
    GROUPS,
    LATEST_LOSS,
    LOSSES_BY_FOLD,
    PIT,
    RELIABILITY,
    SKILL,
    WEIGHTS,
    sheets_of_fans,
)
from pipeline.reporting.forecast_tables import (
    ForecastRow,
    baseline_substitutions,
    common_sessions,
    forecast_rows,
    live_shares,
    next_session_bands,
    published_forecasters,
)
from pipeline.reporting.training_section import fold_table
from pipeline.wording import age_sentence, day, names, restated_sentence, split_first_sentence, unseen_sentence

REPORT = "report.html"
MAX_PROBLEMS = 50
SEVERITIES = tuple(Severity)  # in the order of their definition: the gravest last
FIGURE_NAMES = {
    "skill": SKILL,
    "reliability": RELIABILITY,
    "coverage": COVERAGE,
    "pit": PIT,
    "equity": EQUITY,
    "groups": GROUPS,
    "weights": WEIGHTS,
    "latest_loss": LATEST_LOSS,
    "losses_by_fold": LOSSES_BY_FOLD,
}


def write_report(result: CalendarResult, figures: Mapping[str, bytes], folder: Path, mlflow_url: str | None) -> Path:
    """Write the report whole into the folder and return its path; raises UsageError if it cannot be written."""
    path = folder / REPORT
    # A ticker may hold half a surrogate pair, which no file can.
    content = report_html(result, figures, mlflow_url).encode("utf-8", "replace")
    write_whole(path, content)
    return path


def report_html(result: CalendarResult, figures: Mapping[str, bytes], mlflow_url: str | None) -> str:
    """Return the report as HTML that loads nothing from elsewhere."""
    images = {name: f"data:image/png;base64,{b64encode(png).decode()}" for name, png in figures.items()}
    loader = FileSystemLoader(Path(__file__).parent)
    templates = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = templates.get_template("report.html.jinja")
    return template.render(page_values(result), images=images, mlflow_url=mlflow_url)


def page_values(result: CalendarResult) -> TemplateValues:
    """Return everything that the report's template reads, except the figures and the MLflow address."""
    return {
        "title": page_title(result),
        "verdict": split_first_sentence(verdict_or_notice(result)),
        "model_version": result.model_version.sentence if result.model_version else "",
        "source_note": result.source_note,
        "calendar_mismatches": result.calendar_mismatches,
        "excluded": result.excluded,
        "stale": result.stale,
        "restated": [restated_sentence(row.ticker, row.what) for row in result.restated],
        "warnings": result.warnings,
        "problems": listed_problems(result.problems),
        "problem_count": len(result.problems),
        "unseen": result.unseen,
        "unseen_sentence": unseen_sentence(result.unseen),
        "forecast": None if result.forecasts is None else _forecast(result.forecasts, result),
        "evidence": None if result.evaluation is None else evidence_values(result.evaluation),
        "folds": fold_table(result.folds, result.results, result.frames.sessions),
        "fold_rule": result.experiment.folds.describe(),
        "chosen_from": result.experiment.chosen_from,
        "settings": setting_rows(result.experiment),
        "experiment_json": json.dumps(result.experiment.model_dump(mode="json"), indent=2),
        "known_at": f"{result.known_at:%Y-%m-%dT%H:%M:%S}" if result.known_at else "",
        "names": FIGURE_NAMES,
    }


def page_title(result: CalendarResult) -> str:
    """Return the page's title: the tickers, and the origin of the forecast or the sessions of the backtest."""
    if result.forecasts is not None:
        tickers = list(map(str, result.forecasts["ticker"].unique()))
        return f"{names(tickers)}: forecast from {day(result.forecasts['as_of'].max())}"
    tested = result.evaluation.backtest.sessions if result.evaluation else result.frames.sessions
    return f"{names(result.frames.tickers)}: backtest from {day(tested[0])} to {day(tested[-1])}"


def verdict_or_notice(result: CalendarResult) -> str:
    """Return whether the model is better than the baselines, or that this run did not test it."""
    if result.evaluation is not None:
        return result.evaluation.verdict.sentence
    notice = "This run only forecast: it did not test the model again."
    if result.model_version and result.model_version.backtest:  # named with its verdict below
        return notice
    return f"{notice} Whether the model is better than its baselines is in the report of the run that trained it."


def listed_problems(problems: Sequence[Problem]) -> Sequence[Problem]:
    """Return at most MAX_PROBLEMS of the problems, the gravest first."""
    return sorted(problems, key=lambda problem: -SEVERITIES.index(problem.severity))[:MAX_PROBLEMS]


def setting_rows(experiment: Experiment) -> list[tuple[str, str]]:
    """Return every setting of the experiment as (dotted name, value)."""
    return list(_flat(experiment.model_dump(mode="json"), ""))


def _flat(values: Mapping[str, object], prefix: str) -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", _setting_text(value)


def _setting_text(value: object) -> str:
    if value is None or value == []:
        return "(default)"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _forecast(forecasts: pd.DataFrame, result: CalendarResult) -> TemplateValues:
    model = result.publication.model
    rows = forecast_rows(forecasts, result.unseen, result.currencies, model)
    forecasters, bands = next_session_bands(forecasts)
    return {
        "rows": rows,
        "horizons": range(1, len(rows[0].cells) + 1),
        "common_sessions": common_sessions(rows),
        "age": age_sentence(max(row.age_sessions for row in rows), len(rows[0].cells)),
        "fans": fan_descriptions(rows),
        "forecasters": forecasters,
        "bands": bands,
        "shares": live_shares(result.weights),
        "substitutions": baseline_substitutions(published_forecasters(forecasts), model),
    }


def fan_descriptions(rows: Sequence[ForecastRow]) -> dict[str, str]:
    """Return the alternative text of each figure of fans, by its file name."""
    by_ticker = {row.ticker: row for row in rows}
    return {
        name: _fan_description(by_ticker[tickers[0]])
        if len(tickers) == 1
        else f"Forecast fans of {', '.join(tickers)}."
        for name, tickers in sheets_of_fans(list(by_ticker)).items()
    }


def _fan_description(row: ForecastRow) -> str:
    last = row.cells[-1]
    return (
        f"Forecast fan of {row.ticker}: last close {row.reference_close} {row.currency} on {row.as_of}; on "
        f"{last.target_session} the median is {last.median} and the 80 % band goes from {last.low} to {last.high}."
    )
