"""What a reviewer reads first: names, tags and descriptions of runs."""

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd

from pipeline.dataset.folds import Fold, Range
from pipeline.evaluation.verdict import Verdict
from pipeline.experiment import Experiment
from pipeline.forecasting.forecasts import fits_of
from pipeline.operation.publication import published_rows
from pipeline.operation.result import CalendarResult
from pipeline.reporting.abstention import published_names, shown_instead
from pipeline.training.jobs import FitResult

Kind = Literal["run", "backtest", "forecast", "sine", "tune", "audit", "ingest", "sanity", "tutorial"]

NOTE = "mlflow.note.content"
NAMED_TICKERS = 5
LONGEST_TAG = 4000
GAP = " &nbsp;"  # MLflow draws tables without any space between columns

WHAT: Mapping[Kind, str] = {
    "run": "walk-forward backtest and live forecast",
    "backtest": "walk-forward backtest",
    "forecast": "live forecast from the latest fitted model",
    "sine": "sanity check on a sine with noise",
    "tune": "search over network and training settings, judged on validation ranges alone",
    "audit": "leak audit",
    "ingest": "update of the price store",
    "sanity": "sanity suite",
    "tutorial": "networks of the tutorials",
}

HOLDS: Mapping[str, str] = {
    "report": "**report** (the HTML page: start there)",
    "tables": "**tables** (summary_table: statistics and money; comparisons: every test; forecasts, scores, coverage, "
    "left_out)",
    "figures": "**figures**",
    "forecasts": "**forecasts** (of every forecaster, Parquet)",
    "backtest": "**backtest** (every forecast beside what happened, Parquet)",
    "model": "**model** (the latest fold's fits, safetensors and JSON)",
    "experiment.json": "**experiment.json** (all parameters)",
}


def first_name(kind: Kind, experiment: Experiment) -> str:
    """Return the name of a run whose bars are not loaded yet."""
    return f"{kind} · {named(experiment.tickers) or experiment.source.kind}"


def final_name(kind: str, outcome: CalendarResult) -> str:
    """Return the name of a finished run: what, up to which session, which tickers; the run list cuts its end."""
    return f"{kind} {outcome.frames.sessions[-1]} · {named(outcome.frames.tickers)}"


def named(tickers: Sequence[str]) -> str:
    """Return a few tickers by name and the rest as a number."""
    shown = " ".join(tickers[:NAMED_TICKERS])
    return shown if len(tickers) <= NAMED_TICKERS else f"{shown} +{len(tickers) - NAMED_TICKERS}"


def first_tags(kind: Kind, experiment: Experiment) -> dict[str, str]:
    """Return the tags of a run that has just started."""
    return {
        "tapecast.kind": kind,
        "tapecast.source": experiment.source.kind,
        "mlflow.source.name": f"tapecast {kind}",
        "mlflow.source.type": "JOB",
    }


def final_tags(outcome: CalendarResult) -> dict[str, str]:
    """Return the tags of a finished run."""
    verdict = outcome.evaluation.verdict if outcome.evaluation else None
    tags = {
        "tapecast.verdict": short_verdict(verdict) if verdict else "",
        "tapecast.verdict_sentence": verdict.sentence if verdict else "",
        "tapecast.echo": verdict.echo.name if verdict else "",
        "tapecast.tried": str(outcome.evaluation.trials.tested) if outcome.evaluation else "",
        "tapecast.abstained": " ".join(f"h{horizon}" for horizon in _abstained(outcome)),
        "tapecast.status": outcome.status,
        "tapecast.tickers": " ".join(outcome.frames.tickers),
        "tapecast.last_session": str(outcome.frames.sessions[-1]),
        "tapecast.calendar": outcome.calendar,
        "tapecast.trials": str(outcome.experiment.trials) if outcome.experiment.trials > 1 else "",
        "tapecast.known_at": f"{outcome.known_at:%Y-%m-%dT%H:%M:%S}" if outcome.known_at else "",
        "tapecast.stale": " ".join(one.ticker for one in outcome.stale),
        "tapecast.left_out": " ".join(left.ticker for left in outcome.left_out),
        "tapecast.unseen": " ".join(outcome.unseen),
        "tapecast.model_keys": " ".join(result.job.key for result in latest_results(outcome)),
    }
    return {key: value[:LONGEST_TAG] for key, value in tags.items() if value}


def _abstained(outcome: CalendarResult) -> list[int]:
    """Return the horizons at which some ticker is forecast by a baseline in the model's place."""
    if outcome.forecasts is None:
        return list(outcome.publication.abstained)
    shown = published_names(outcome.forecasts)
    return sorted({horizon for _, horizon, name in shown if name != outcome.publication.model})


def short_verdict(verdict: Verdict) -> str:
    """Return the verdict in a few words, for a column of the run list."""
    worse = [c.baseline for c in verdict.comparisons if c.conclusion == "worse"]
    better = [c.baseline for c in verdict.comparisons if c.conclusion == "better"]
    if worse:
        return f"worse than {', '.join(worse)}"
    return f"better than {len(better)} of {len(verdict.comparisons)} baselines"


def latest_results(outcome: CalendarResult) -> list[FitResult]:
    """Return the finished fits of the latest fold."""
    if not outcome.folds:
        return []
    fitted = [id(fit) for fit in fits_of(outcome.results, outcome.folds[-1])]
    own = [result for result in outcome.results if id(result.fitted) in fitted]
    return sorted(own, key=lambda result: fitted.index(id(result.fitted)))


def first_note(kind: Kind, experiment: Experiment) -> str:
    """Return the description of a run under way, which stays if it is killed."""
    tickers = named(experiment.tickers) or "all tickers"
    return f"{WHAT[kind].capitalize()} of {tickers} from source {experiment.source.kind}: under way, nothing found yet."


def failure_note(error: str, note: str) -> str:
    """Return the description of a failed run: the error first."""
    return f"**Failed:** {error}\n\n{note.replace('under way, nothing found yet', 'not finished')}"


def final_note(kind: str, outcome: CalendarResult, artifacts: Sequence[str]) -> str:
    """Return the description of a finished run as markdown: the verdict first."""
    return "\n\n".join(part for part in _paragraphs(kind, outcome, artifacts) if part)


def _paragraphs(kind: str, outcome: CalendarResult, artifacts: Sequence[str]) -> Iterator[str]:
    if outcome.evaluation:
        yield f"**{outcome.evaluation.verdict.sentence}**"
    yield outcome.source_note
    yield "\n".join(f"- {warning}" for warning in outcome.warnings)
    yield _left_out(outcome)
    if outcome.evaluation:
        yield _comparisons(outcome.evaluation.verdict)
    if outcome.forecasts is not None:
        yield " ".join(shown_instead(published_names(outcome.forecasts), outcome.publication.model))
        yield _next_session(outcome.forecasts)
    yield _data(kind, outcome)
    yield _where(outcome, artifacts)


def _left_out(outcome: CalendarResult) -> str:
    left = [f"- **{one.ticker}** was left out: {one.reason}" for one in outcome.left_out[:20]]
    more = len(outcome.left_out) - len(left)
    rest = [f"- and {more} more, in tables/left_out.json"] if more else []
    old = [f"- **{one.ticker}** is {one.age_sessions} sessions old: {one.reason}" for one in outcome.stale[:20]]
    unseen = [f"- The model was not trained on {', '.join(outcome.unseen)}."] if outcome.unseen else []
    return "\n".join([*left, *rest, *old, *unseen])


def _comparisons(verdict: Verdict) -> str:
    rows = [(c.baseline, f"{c.skill:+.2%}", _p_value(c.p), c.conclusion) for c in verdict.comparisons]
    title = f"{verdict.model.capitalize()} against each baseline, horizon {verdict.horizon}"
    return titled(title, ("baseline", "skill (pinball loss saved)", "p", f"the {verdict.model} is"), rows)


def _p_value(p: float) -> str:
    if np.isnan(p):
        return "none"
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def _next_session(forecasts: pd.DataFrame) -> str:
    """Return a table of the first horizon for a few tickers."""
    published = published_rows(forecasts)
    first = published[published["horizon"] == 1].head(2 * NAMED_TICKERS).to_dict("records")
    head = ("ticker", "last close of", "close", "next session", "10 %", "median", "90 %", "forecaster")
    return titled("Forecast of the next session", head, [_forecast_cells(row) for row in first])


def _forecast_cells(row: Mapping[Hashable, Any]) -> list[str]:
    days = {name: f"{row[name]:%Y-%m-%d}" for name in ("as_of", "target_session")}
    prices = [f"{row[name]:.2f}" for name in ("q10", "q50", "q90")]
    close = f"{row['reference_close']:.2f}"
    return [row["ticker"], days["as_of"], close, days["target_session"], *prices, row["forecaster"]]


def titled(title: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table as markdown below its title."""
    return f"**{title}**\n\n{markdown_table(head, rows)}"


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table as markdown, with room between its columns."""
    lines = [f"| {f'{GAP} | '.join(cells)} |" for cells in (head, *rows)]
    return "\n".join([lines[0], "|---" * len(head) + "|", *lines[1:]])


def _data(kind: str, outcome: CalendarResult) -> str:
    sessions, folds = outcome.frames.sessions, len(outcome.folds)
    text = f"A {kind} of {len(outcome.frames.tickers)} tickers, {sessions[0]} to {sessions[-1]}"
    fits = f", {folds} folds: {outcome.experiment.folds.describe()}" if folds else ""
    return f"{text}{fits}. {outcome.experiment.chosen_from}".strip()


def _where(outcome: CalendarResult, artifacts: Sequence[str]) -> str:
    folds = (
        "\n- Child runs, one per fold (unfold this run in the list): date ranges, loss curves per seed, that fold's "
        "test scores"
        if outcome.folds
        else ""
    )
    return (
        "Where to look:\n"
        "- Model metrics: `by_horizon` draws the network's scores, skills and p-values over the horizons (step = "
        "horizon); `h<horizon>/<forecaster>/<score>` are pooled over tickers; `h<horizon>/skill/<baseline>` and "
        "`h<horizon>/dm_p/<baseline>` (Diebold-Mariano), `money/<forecaster>/<rule>/sharpe`, `seconds/<stage>`; "
        "search for `skill` or `h1/network`\n"
        f"- Artifacts: {'; '.join(HOLDS.get(name, name) for name in artifacts)}{folds}"
    )


def fold_name(fold: Fold) -> str:
    """Return the name of a fold's run."""
    return f"fold {fold.name}"


def fold_tags(fold: Fold) -> dict[str, str]:
    """Return the tags of a fold's run: its ranges, last day included."""
    ranges = zip(("train", "validation", "calibration", "test"), fold.ranges, strict=True)
    return {
        "tapecast.kind": "fold",
        **{f"tapecast.{name}": days(part) for name, part in ranges if len(part)},
        NOTE: fold_note(fold),
    }


def fold_note(fold: Fold) -> str:
    """Return the description of a fold's run."""
    return (
        f"One refit: trained on {days(fold.train)}, stopped early by {days(fold.validation)}, tested on "
        f"{days(fold.test)} ({len(fold.test)} sessions have been). Metrics: `fit_loss` by step for every seed (the "
        "head's mean loss in units of volatility x sqrt(h)), `fit_stopped` (best step), `fit_seconds`, and the pooled "
        "scores of this test range."
    )


def days(part: Range) -> str:
    """Return a range as its first and last day."""
    return f"{part.first} to {part.until - np.timedelta64(1, 'D')}"
