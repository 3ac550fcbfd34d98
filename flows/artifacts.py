"""Prefect artifacts: the results of the use cases as markdown, tables and links in the Prefect UI."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact

from pipeline.audit.result import AuditResult as AuditVerdict
from pipeline.market.validation.report import status_counts
from pipeline.sanity.checks import SanityCheck, verdict_sentence
from pipeline.sanity.checks import sanity_table as check_table
from pipeline.tracking.check_records import combined_audit_table
from pipeline.tutorials.run import TutorialResult as TutorialVerdict
from pipeline.tutorials.run import tutorial_table
from pipeline.wording import p_value
from pipeline.workflow.ingest import IngestResult
from pipeline.workflow.result import BacktestSummary, CalendarSummary, Result, Row, plain_rows
from pipeline.workflow.tune_result import TuneResult
from pipeline.workflow.validation import mismatch_rows

DESCRIPTIONS: Mapping[str, str] = {
    "forecasts": "Price quantiles per session",
    "excluded": "Tickers not forecast, and why",
    "stale": "Tickers not up to date, and why",
    "validation": "Findings of the validation of prices",
    "not-up-to-date": "Tickers that are not up to date, and why",
    "trials": "Every trial of the study, the best first",
}


def show_result(result: Result, kind: str) -> None:
    """Make the artifacts of a finished run on a kind of source: verdict and links, forecasts, and what is missing."""
    create_markdown_artifact(markdown(result), key=f"result-{kind}", description="Verdict and where to look next")
    show_tables(result.tables(), kind)
    several = len(result.calendars) > 1
    for one in result.calendars:
        show_link(one.mlflow_url, "-".join(["mlflow", kind, *([slug(one.calendar)] if several else [])]))


def show_tables(tables: Mapping[str, list[Row]], ending: str) -> None:
    """Make an artifact of every table; its key is the table's name with this ending."""
    for name, rows in tables.items():
        key = f"{name}-{ending}" if ending else name
        create_table_artifact(rows, key=key, description=DESCRIPTIONS.get(name, name))


def show_link(url: str, key: str, text: str = "MLflow run") -> None:
    """Make a link to an MLflow run, where its address is one that a browser can open."""
    if url.startswith("http"):
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
    for one in result.calendars:
        yield f"## {one.calendar}" if several else ""
        yield one.backtest.verdict if one.backtest else ""
        yield " ".join(one.instead)
        yield skill_markdown(one.backtest) if one.backtest else ""
        yield links_markdown(one)
    yield f"*{result.calendars[0].note}*"
    yield from result.warnings
    if result.excluded:
        yield "Excluded: " + "; ".join(f"**{row['ticker']}**: {row['reason']}" for row in result.excluded)
    if result.stale:
        yield "Not up to date: " + "; ".join(f"**{row['ticker']}**: {row['reason']}" for row in result.stale)
    if result.unseen:
        yield f"Forecast though not trained on: {', '.join(result.unseen)}"


def mismatch_paragraphs(mismatches: Sequence[Row]) -> Iterator[str]:
    """Yield a paragraph for each calendar that the bars do not fit."""
    yield from (f"**Wrong calendar?** {row['sentence']}" for row in mismatches)


def links_markdown(one: CalendarSummary) -> str:
    """Return where the MLflow run and the report of a calendar are."""
    return f"[MLflow run {one.mlflow_run_id}]({one.mlflow_url})  \nReport: `{one.report}`"


def skill_markdown(backtest: BacktestSummary) -> str:
    """Return skill and p against each opponent by horizon as a markdown table."""
    opponents = list(next(iter(backtest.skill.values())))
    head = ["| horizon | " + " | ".join(opponents) + " |", "|" + " --- |" * (len(opponents) + 1)]
    rows = [
        f"| {horizon} | " + " | ".join(skill_cell(backtest, horizon, name) for name in opponents) + " |"
        for horizon in backtest.skill
    ]
    return "Skill against each baseline:\n\n" + "\n".join(head + rows)


def skill_cell(backtest: BacktestSummary, horizon: str, opponent: str) -> str:
    """Return one skill with its p."""
    skill, p = backtest.skill[horizon][opponent], backtest.dm_p[horizon][opponent]
    if skill is None:
        return "-"
    return f"{skill:+.2%}" + ("" if p is None else f" ({p_value(p)})")


def show_ingest(result: IngestResult) -> None:
    """Make the artifacts of an update: a summary, the findings, and the tickers that are not up to date."""
    key = result.collection.replace("_", "-")
    create_markdown_artifact(ingest_markdown(result), key=f"ingest-{key}", description="What the update did")
    show_tables(result.tables(), key)


def ingest_markdown(result: IngestResult) -> str:
    """Return the update in markdown."""
    states = "\n".join(f"- {count} {state}" for state, count in result.states.items())
    validated = ", ".join(f"{count} {verdict}" for verdict, count in status_counts(result.validation).items())
    size_mb = result.disk.size_bytes / 1e6
    disk = f"{result.disk.tickers} tickers, {result.disk.versions} versions, {size_mb:.1f} MB"
    mismatches = mismatch_paragraphs(mismatch_rows(result.checked.calendar_mismatches))
    parts = (f"**{result.status}**", *mismatches, states, f"Validation of what changed: {validated}.")
    return "\n\n".join([*parts, f"The store: {disk}."])


def show_tune(result: TuneResult) -> None:
    """Make the artifacts of a search: what was found, the trials, and a link to the study's run."""
    text = "\n\n".join([*result.sentences, f"Run it with `tapecast run --experiment {result.experiment}`."])
    create_markdown_artifact(text, key="tuned", description="The best of the trials, and on what it was chosen")
    show_tables(result.tables(), "")
    show_link(result.mlflow_url, "mlflow-study", "MLflow run of the study")


def show_audit(verdicts: Sequence[AuditVerdict], url: str) -> None:
    """Make the artifacts of a leak audit."""
    text = "The output of each stage, compared between the bars as they are and tampered copies"
    _show_check(plain_rows(combined_audit_table(verdicts)), "audit-verdicts", text, (url, "mlflow-audit"))


def show_sanity(checks: Sequence[SanityCheck], url: str) -> None:
    """Make the artifacts of the sanity suite."""
    text = f"{verdict_sentence(checks)} Each number found has to lie from low to high."
    _show_check(plain_rows(check_table(checks)), "sanity-checks", text, (url, "mlflow-sanity"))


def show_tutorials(verdicts: Sequence[TutorialVerdict], url: str) -> None:
    """Make the artifacts of the tutorials."""
    text = "The tutorials' networks compared with their marks"
    _show_check(plain_rows(tutorial_table(tuple(verdicts))), "tutorial-verdicts", text, (url, "mlflow-tutorials"))


def _show_check(rows: list[dict[str, Any]], key: str, description: str, link: tuple[str, str]) -> None:
    create_table_artifact(rows, key=key, description=description)
    show_link(*link)
