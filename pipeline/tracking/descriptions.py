"""Names, tags and descriptions of runs in MLflow."""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd

from pipeline.dataset.folds import Fold, Range
from pipeline.evaluation.verdict import Verdict
from pipeline.experiment import Experiment
from pipeline.forecasting.forecasts import fits_of
from pipeline.operation.model import VersionReference
from pipeline.operation.publication import published_rows
from pipeline.operation.result import CalendarResult
from pipeline.reporting.forecast_tables import baseline_substitutions, published_forecasters
from pipeline.training.jobs import FitResult
from pipeline.wording import (
    day,
    exclusion_sentence,
    markdown_table,
    model_in_words,
    p_number,
    price,
    restated_sentence,
    skill,
    stale_sentence,
    unseen_sentence,
)

RunKind = Literal[
    "run", "backtest", "forecast", "daily", "sine", "tune", "audit", "ingest", "sanity", "tutorial", "prune"
]

NOTE_TAG = "mlflow.note.content"
CHAIN_TAG = "tapecast.ledger_chain"
MAX_NAMED_TICKERS = 5
MAX_TAG_LENGTH = 4000
MAX_LISTED = 20

KIND_LABELS: Mapping[RunKind, str] = {
    "run": "walk-forward backtest and live forecast",
    "backtest": "walk-forward backtest",
    "forecast": "live forecast from the latest fitted model",
    "daily": "forecasts of the day, issued and graded",
    "sine": "sanity check on a sine with noise",
    "tune": "search over network and training settings, judged on validation ranges alone",
    "audit": "leak audit",
    "ingest": "update of the price store",
    "sanity": "sanity suite",
    "tutorial": "networks of the tutorials",
    "prune": "removal of what has outlived its lifetime",
}

ARTIFACT_LABELS: Mapping[str, str] = {
    "report": "**report** (the HTML page: start here)",
    "tables": "**tables** (summary: statistics, money; comparisons: every test; forecasts, scores, coverage, excluded)",
    "figures": "**figures**",
    "forecasts": "**forecasts** (of every forecaster, Parquet)",
    "backtest": "**backtest** (every forecast with its result, the weights of the combination, Parquet)",
    "model": "**model** (the latest fold's fits, safetensors and JSON)",
    "experiment.json": "**experiment.json** (all parameters)",
}


def first_name(kind: RunKind, experiment: Experiment) -> str:
    """Return the name of a run whose bars are not loaded yet."""
    return f"{kind} · {tickers_in_brief(experiment.tickers) or experiment.source.kind}"


def final_name(kind: str, result: CalendarResult) -> str:
    """Return the name of a finished run: kind, last session, tickers; the run list cuts its end."""
    return f"{kind} {result.frames.sessions[-1]} · {tickers_in_brief(result.frames.tickers)}"


def tickers_in_brief(tickers: Sequence[str]) -> str:
    """Return the first MAX_NAMED_TICKERS tickers and the number of the others."""
    first = " ".join(tickers[:MAX_NAMED_TICKERS])
    return first if len(tickers) <= MAX_NAMED_TICKERS else f"{first} +{len(tickers) - MAX_NAMED_TICKERS}"


def first_tags(kind: RunKind, experiment: Experiment) -> dict[str, str]:
    """Return the tags of a run that has just started."""
    return {
        "tapecast.kind": kind,
        "tapecast.source": experiment.source.kind,
        "mlflow.source.name": f"tapecast {kind}",
        "mlflow.source.type": "JOB",
    }


def final_tags(result: CalendarResult) -> dict[str, str]:
    """Return the tags of a finished run."""
    verdict = result.evaluation.verdict if result.evaluation else None
    tags = {
        "tapecast.verdict": short_verdict(verdict) if verdict else "",
        "tapecast.verdict_sentence": verdict.sentence if verdict else "",
        "tapecast.echo": verdict.echo.name if verdict else "",
        "tapecast.tested_specifications": _tested(result),
        "tapecast.baseline_substitutions": " ".join(f"h{horizon}" for horizon in _substituted_horizons(result)),
        "tapecast.model_version": version_in_words(result.model_version),
        CHAIN_TAG: result.ledger_chain or "",
        "tapecast.status": result.status,
        "tapecast.tickers": " ".join(result.frames.tickers),
        "tapecast.last_session": str(result.frames.sessions[-1]),
        "tapecast.calendar": result.calendar,
        "tapecast.trials": str(result.experiment.trials) if result.experiment.trials > 1 else "",
        "tapecast.known_at": f"{result.known_at:%Y-%m-%dT%H:%M:%S}" if result.known_at else "",
        "tapecast.stale": " ".join(stale.ticker for stale in result.stale),
        "tapecast.excluded": " ".join(exclusion.ticker for exclusion in result.excluded),
        "tapecast.unseen": " ".join(result.unseen),
        "tapecast.model_keys": " ".join(fit_result.job.key for fit_result in latest_results(result)),
    }
    return {key: value[:MAX_TAG_LENGTH] for key, value in tags.items() if value}


def _tested(result: CalendarResult) -> str:
    """Return how many specifications were tested on these prices, "unknown", or nothing without a test."""
    if result.evaluation is None:
        return ""
    return str(result.evaluation.trials.tested) if result.evaluation.trials.known else "unknown"


def _substituted_horizons(result: CalendarResult) -> list[int]:
    """Return the horizons at which a baseline is published in the model's place for some ticker."""
    if result.forecasts is None:
        return list(result.publication.abstained)
    published = published_forecasters(result.forecasts)
    return sorted({horizon for _, horizon, name in published if name != result.publication.model})


def short_verdict(verdict: Verdict) -> str:
    """Return a short verdict, for a column of the run list."""
    worse = [c.baseline for c in verdict.comparisons if c.conclusion == "worse"]
    better = [c.baseline for c in verdict.comparisons if c.conclusion == "better"]
    if worse:
        return f"worse than {', '.join(worse)}"
    return f"better than {len(better)} of {len(verdict.comparisons)} forecasters"


def latest_results(result: CalendarResult) -> list[FitResult]:
    """Return the finished fits of the latest fold."""
    if not result.folds:
        return []
    order = [id(fitted) for fitted in fits_of(result.results, result.folds[-1])]
    latest = [fit_result for fit_result in result.results if id(fit_result.fitted) in order]
    return sorted(latest, key=lambda fit_result: order.index(id(fit_result.fitted)))


def first_note(kind: RunKind, experiment: Experiment) -> str:
    """Return the description of a running run, which remains if it is killed."""
    tickers = tickers_in_brief(experiment.tickers) or "all tickers"
    return (
        f"{KIND_LABELS[kind].capitalize()} of {tickers} from source {experiment.source.kind}: running, no results yet."
    )


def failure_note(error: str, note: str) -> str:
    """Return the description of a failed run: the error first."""
    return f"**Failed:** {error}\n\n{note.replace('running, no results yet', 'not finished')}"


def final_note(kind: str, result: CalendarResult, artifacts: Sequence[str]) -> str:
    """Return the description of a finished run as markdown: the verdict first."""
    return "\n\n".join(part for part in _paragraphs(kind, result, artifacts) if part)


def _paragraphs(kind: str, result: CalendarResult, artifacts: Sequence[str]) -> Iterator[str]:
    yield from (f"**Wrong calendar?** {mismatch}" for mismatch in result.calendar_mismatches)
    if result.evaluation:
        yield f"**{result.evaluation.verdict.sentence}**"
    yield result.model_version.sentence if result.model_version else ""
    yield result.source_note
    yield "\n".join(f"- {warning}" for warning in result.warnings)
    yield _exclusions(result)
    if result.evaluation:
        yield _comparison_table(result.evaluation.verdict)
    if result.forecasts is not None:
        yield " ".join(baseline_substitutions(published_forecasters(result.forecasts), result.publication.model))
        yield _next_session_table(result.forecasts)
    yield _data(kind, result)
    yield _contents(result, artifacts)


def _exclusions(result: CalendarResult) -> str:
    excluded = [exclusion_sentence(f"**{row.ticker}**", row.reason) for row in result.excluded[:MAX_LISTED]]
    rest = len(result.excluded) - len(excluded)
    more = [f"and {rest} more, in tables/excluded.json"] if rest else []
    stale = [stale_sentence(f"**{row.ticker}**", row.age_sessions, row.reason) for row in result.stale[:MAX_LISTED]]
    unseen = [unseen_sentence(result.unseen)] if result.unseen else []
    restated = [restated_sentence(f"**{row.ticker}**", row.what) for row in result.restated[:MAX_LISTED]]
    return "\n".join(f"- {sentence}" for sentence in (*excluded, *more, *stale, *restated, *unseen))


def _comparison_table(verdict: Verdict) -> str:
    rows = [(c.baseline, skill(c.skill), p_number(c.p), c.conclusion) for c in verdict.comparisons]
    subject = model_in_words(verdict.model).capitalize()
    title = (
        f"{subject} against each forecaster, horizon {verdict.horizon} (p of those that are no simple baselines is "
        "raised for their number)"
    )
    return markdown_table(("against", "skill (pinball loss)", "p", "conclusion"), rows, title)


def _next_session_table(forecasts: pd.DataFrame) -> str:
    """Return a table of the first horizon for a few tickers."""
    published = published_rows(forecasts)
    first = published[published["horizon"] == 1].head(2 * MAX_NAMED_TICKERS).to_dict("records")
    head = ("ticker", "last close of", "close", "next session", "10 %", "median", "90 %", "forecaster")
    return markdown_table(head, [_forecast_cells(row) for row in first], "Forecast of the next session")


def _forecast_cells(row: Mapping[Hashable, Any]) -> list[str]:
    close, *quantiles = (price(row[name]) for name in ("reference_close", "q10", "q50", "q90"))
    return [row["ticker"], day(row["as_of"]), close, day(row["target_session"]), *quantiles, row["forecaster"]]


def _data(kind: str, result: CalendarResult) -> str:
    sessions, folds = result.frames.sessions, len(result.folds)
    text = f"A {kind} of {len(result.frames.tickers)} tickers, {sessions[0]} to {sessions[-1]}"
    fits = f", {folds} folds: {result.experiment.folds.describe()}" if folds else ""
    return f"{text}{fits}. {result.experiment.chosen_from}".strip()


def _contents(result: CalendarResult, artifacts: Sequence[str]) -> str:
    folds = (
        "\n- Child runs, one per fold (expand this run in the list): date ranges, loss curves per seed, test scores"
        if result.folds
        else ""
    )
    return (
        "Contents:\n"
        "- Model metrics: `by_horizon` draws scores, skills and p-values of what is published over the horizons (step "
        "= horizon); `h<horizon>/<forecaster>/<score>` are pooled over tickers; `h<horizon>/skill/<forecaster>` and "
        "`h<horizon>/dm_p/<forecaster>` (Diebold-Mariano), `h<horizon>/network_adds/skill` (the combination against "
        "itself without the network), `h<horizon>/share/<forecaster>`, `money/<forecaster>/<rule>/sharpe`, "
        "`seconds/<stage>`; search for `skill` or `h1/network`\n"
        f"- Artifacts: {'; '.join(ARTIFACT_LABELS.get(name, name) for name in artifacts)}{folds}"
    )


def version_in_words(version: VersionReference | None) -> str:
    """Return name and number of the version that forecast, empty without one."""
    return f"{version.name} {version.number}" if version else ""


def fold_name(fold: Fold) -> str:
    """Return the name of a fold's run."""
    return f"fold {fold.name}"


def fold_tags(fold: Fold) -> dict[str, str]:
    """Return the tags of a fold's run: its ranges, last day included."""
    ranges = zip(("train", "validation", "calibration", "test"), fold.ranges, strict=True)
    return {
        "tapecast.kind": "fold",
        **{f"tapecast.{name}": range_dates(part) for name, part in ranges if len(part)},
        NOTE_TAG: fold_note(fold),
    }


def fold_note(fold: Fold) -> str:
    """Return the description of a fold's run."""
    return (
        f"One refit: trained on {range_dates(fold.train)}, stopped early on {range_dates(fold.validation)}, tested on "
        f"{range_dates(fold.test)} ({len(fold.test)} sessions so far). Metrics: `fit_loss` by step for every seed (the "
        "head's mean loss in units of volatility x sqrt(h)), `fit_stopped` (best step), `fit_seconds`, and the pooled "
        "scores of this test range."
    )


def range_dates(part: Range) -> str:
    """Return the first and the last day of a range."""
    return f"{part.first} to {part.until - np.timedelta64(1, 'D')}"
