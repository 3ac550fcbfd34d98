"""Prefect artifacts: the results of the use cases as markdown, tables and links. Only making one imports Prefect."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict

from pipeline.audit.result import AuditResult
from pipeline.market.validation.report import status_counts
from pipeline.sanity.checks import SanityCheck, sanity_sentence, sanity_table
from pipeline.tracking.check_records import combined_audit_table
from pipeline.tutorials.run import TutorialResult, tutorial_table
from pipeline.wording import (
    counts_in_words,
    disk_in_words,
    exclusion_sentence,
    markdown_table,
    mlflow_link,
    p_value,
    restated_sentence,
    skill,
    stale_sentence,
    unseen_sentence,
)
from pipeline.workflow.alerts import MissingResult
from pipeline.workflow.daily_result import DailyResult, daily_sentences, refit_sentence
from pipeline.workflow.ingest import IngestResult
from pipeline.workflow.prune_result import PruneResult
from pipeline.workflow.result import BacktestSummary, CalendarSummary, JsonObject, Result, json_rows
from pipeline.workflow.tune_result import TuneResult
from pipeline.workflow.validation import mismatch_rows

DESCRIPTIONS: Mapping[str, str] = {
    "forecasts": "Price quantiles per session",
    "excluded": "Tickers not forecast, and why",
    "stale": "Tickers not up to date, and why",
    "validation": "Findings of the validation of prices",
    "not-up-to-date": "Tickers that are not up to date, and why",
    "issued": "Sessions issued, with their entry in the ledger",
    "trials": "Every trial of the study, the best first",
    "removed": "What was removed, by kind",
}


def create_result_artifacts(result: Result, kind: str) -> None:
    """Make the artifacts of a finished run on a kind of source: verdict and links, forecasts, and what is missing."""
    create_markdown(markdown(result), key=f"result-{kind}", description="Result and where to look next")
    create_tables(result.tables(), kind)
    several = len(result.calendars) > 1
    for summary in result.calendars:
        create_run_link(summary.mlflow_url, "-".join(["mlflow", kind, *([slug(summary.calendar)] if several else [])]))


def create_tables(tables: Mapping[str, list[JsonObject]], ending: str) -> None:
    """Make an artifact of every table; its key is the table's name with this ending."""
    for name, rows in tables.items():
        key = f"{name}-{ending}" if ending else name
        create_table(rows, key=key, description=DESCRIPTIONS.get(name, name))


def create_markdown(text: str, key: str, description: str) -> None:
    """Make an artifact of a text."""
    from prefect.artifacts import create_markdown_artifact  # noqa: PLC0415  a second of imports

    create_markdown_artifact(text, key=key, description=description)


def create_table(rows: list[JsonObject], key: str, description: str) -> None:
    """Make an artifact of a table."""
    from prefect.artifacts import create_table_artifact  # noqa: PLC0415

    create_table_artifact(rows, key=key, description=description)


def create_run_link(url: str | None, key: str, text: str = "MLflow run") -> None:
    """Make a link to an MLflow run, where its address is one that a browser can open."""
    if url and url.startswith("http"):
        from prefect.artifacts import create_link_artifact  # noqa: PLC0415

        create_link_artifact(url, key=key, link_text=text)


def slug(calendar: str) -> str:
    """Return a calendar's code as Prefect allows it in a key."""
    return calendar.lower().replace("/", "-")


def markdown(result: Result) -> str:
    """Return the result in markdown: verdicts first, then the skill tables, then where to look."""
    return "\n\n".join(part for part in paragraphs(result) if part)


def paragraphs(result: Result) -> Iterator[str]:
    """Yield the paragraphs of the result."""
    several = len(result.calendars) > 1
    yield from mismatch_paragraphs(result.calendar_mismatches)
    for summary in result.calendars:
        yield f"## {summary.calendar}" if several else ""
        yield summary.backtest.verdict if summary.backtest else ""
        yield summary.version_in_words
        yield " ".join((*summary.instead, *summary.shares))
        yield skill_markdown(summary.backtest) if summary.backtest else ""
        yield links_markdown(summary)
    yield f"*{result.calendars[0].note}*"
    yield from result.warnings
    excluded = [exclusion_sentence(f"**{row['ticker']}**", row["reason"]) for row in result.excluded]
    stale = [stale_sentence(f"**{row['ticker']}**", row["age_sessions"], row["reason"]) for row in result.stale]
    restated = [restated_sentence(f"**{row['ticker']}**", row["what"]) for row in result.restated]
    yield "\n".join(f"- {sentence}" for sentence in (*excluded, *stale, *restated))
    yield unseen_sentence(result.unseen)


def create_daily_artifacts(result: DailyResult) -> None:
    """Make the artifacts of a daily run: what was issued and graded, the forecasts, and what is missing."""
    key = result.model.replace("_", "-")
    create_markdown(daily_markdown(result), key=f"daily-{key}", description="What was issued and graded")
    create_tables(result.tables(), key)


def create_missing_artifact(result: MissingResult) -> None:
    """Make the artifact of a look for sessions that nothing issued."""
    key = f"missing-{result.model.replace('_', '-').lower()}-{slug(result.calendar)}"
    create_markdown(result.sentence, key=key, description="Sessions that have closed and were not issued")


def daily_markdown(result: DailyResult) -> str:
    """Return a daily run in markdown: a sentence per session issued, the backtest behind it, and where to look."""
    several = len(result.calendars) > 1
    paragraphs = [f"**{result.status}**, model {result.model}"]
    for calendar in result.calendars:
        paragraphs += [f"## {calendar.calendar}" if several else "", *map(str, daily_sentences(calendar))]
        if calendar.mlflow_url and calendar.mlflow_run_id:
            paragraphs.append(
                f"{mlflow_link(calendar.mlflow_url, calendar.mlflow_run_id)}  \nReport: `{calendar.report}`"
            )
    refit = [f"Refit: {refit_sentence(result.refit)}"] if result.refit else []
    return "\n\n".join(part for part in (*paragraphs, *refit, *result.warnings) if part)


def mismatch_paragraphs(mismatches: Sequence[JsonObject]) -> Iterator[str]:
    """Yield a paragraph for each calendar that the bars do not fit."""
    yield from (f"**Wrong calendar?** {row['sentence']}" for row in mismatches)


def links_markdown(summary: CalendarSummary) -> str:
    """Return where the MLflow run and the report of a calendar are."""
    lines = (
        mlflow_link(summary.mlflow_url, summary.mlflow_run_id or "") if summary.mlflow_url else "",
        "" if summary.recorded else "**Not recorded in MLflow yet.**",
        f"Report: `{summary.report}`" if summary.report else "",
    )
    return "  \n".join(line for line in lines if line)


def skill_markdown(backtest: BacktestSummary) -> str:
    """Return skill and p against each opponent by horizon as a markdown table."""
    opponents = list(next(iter(backtest.skill.values())))
    rows = [[horizon, *(skill_cell(backtest, horizon, name) for name in opponents)] for horizon in backtest.skill]
    return markdown_table(["horizon", *opponents], rows, "Skill against each forecaster", column_gap="")


def skill_cell(backtest: BacktestSummary, horizon: str, opponent: str) -> str:
    """Return one skill with its p."""
    against, p = backtest.skill[horizon][opponent], backtest.dm_p[horizon][opponent]
    return skill(against) + ("" if p is None else f" ({p_value(p)})")


def create_ingest_artifacts(result: IngestResult) -> None:
    """Make the artifacts of an update: a summary, the findings, and the tickers that are not up to date."""
    key = result.collection.replace("_", "-")
    create_markdown(ingest_markdown(result), key=f"ingest-{key}", description="What the update did")
    create_tables(result.tables(), key)


def ingest_markdown(result: IngestResult) -> str:
    """Return the update in markdown."""
    paragraphs = (
        f"**{result.status}**",
        *mismatch_paragraphs(mismatch_rows(result.checked.calendar_mismatches)),
        counts_in_words(result.states) or "nothing to update",
        f"Validation of what changed: {counts_in_words(status_counts(result.validation)) or 'nothing checked'}.",
        f"The store: {disk_in_words(**asdict(result.disk))}.",
    )
    return "\n\n".join(paragraphs)


def create_prune_artifacts(result: PruneResult) -> None:
    """Make the artifacts of pruning: what was freed, why something was not, and a row per kind."""
    text = "\n\n".join([f"**{result.status}**", f"{result.sentence}.", *result.warnings])
    create_markdown(text, key="pruned", description="What was removed, and the disk space freed")
    create_tables(result.tables(), "")


def create_tune_artifacts(result: TuneResult) -> None:
    """Make the artifacts of a search: what was found, the trials, and a link to the study's run."""
    text = "\n\n".join([*result.sentences, f"Run it with `tapecast run --experiment {result.experiment}`."])
    create_markdown(text, key="tuned", description="The best of the trials, and on what it was chosen")
    create_tables(result.tables(), "")
    create_run_link(result.mlflow_url, "mlflow-study", "MLflow run of the study")


def create_audit_artifacts(results: Sequence[AuditResult], url: str | None) -> None:
    """Make the artifacts of a leak audit."""
    text = "The output of each stage, compared between the bars as they are and tampered copies"
    _show_check(json_rows(combined_audit_table(results)), "audit-results", text, (url, "mlflow-audit"))


def create_sanity_artifacts(checks: Sequence[SanityCheck], url: str | None) -> None:
    """Make the artifacts of the sanity suite."""
    text = f"{sanity_sentence(checks)} Each number found has to lie from low to high."
    _show_check(json_rows(sanity_table(checks)), "sanity-checks", text, (url, "mlflow-sanity"))


def create_tutorials_artifacts(results: Sequence[TutorialResult], url: str | None) -> None:
    """Make the artifacts of the tutorials."""
    text = "The tutorials' networks compared with their marks"
    _show_check(json_rows(tutorial_table(tuple(results))), "tutorial-results", text, (url, "mlflow-tutorials"))


def _show_check(rows: list[JsonObject], key: str, description: str, link: tuple[str | None, str]) -> None:
    create_table(rows, key=key, description=description)
    create_run_link(*link)
