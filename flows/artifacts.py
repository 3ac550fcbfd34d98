"""Prefect artifacts: the result of a run as markdown and tables in the Prefect UI."""

from collections.abc import Iterator

from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact

from pipeline.wording import p_value
from pipeline.workflow.result import Summary


def show_result(summary: Summary, kind: str) -> None:
    """Make the artifacts of a finished run on a kind of source: verdict and links, forecasts, and what is missing."""
    create_markdown_artifact(markdown(summary), key=f"result-{kind}", description="Verdict and where to look next")
    if summary.forecasts:
        create_table_artifact(summary.forecasts, key=f"forecasts-{kind}", description="Price quantiles per session")
    if summary.left_out:
        create_table_artifact(summary.left_out, key=f"left-out-{kind}", description="Tickers not forecast, and why")
    if summary.stale:
        create_table_artifact(summary.stale, key=f"stale-{kind}", description="Tickers not up to date, and why")
    for market in summary.markets or [summary]:
        if (market.mlflow_url or "").startswith("http"):
            key = "-".join(["mlflow", kind, *([slug(str(market.calendar))] if summary.markets else [])])
            create_link_artifact(str(market.mlflow_url), key=key, link_text="MLflow run")


def slug(calendar: str) -> str:
    """Return a calendar's code as Prefect allows it in a key."""
    return calendar.lower().replace("/", "-")


def markdown(summary: Summary) -> str:
    """Return the result in markdown: verdicts first, then the skill tables, then where to look."""
    return "\n\n".join(part for part in paragraphs(summary) if part)


def paragraphs(summary: Summary) -> Iterator[str]:
    """Yield the paragraphs of the result."""
    for market in summary.markets or [summary]:
        yield f"## {market.calendar}" if summary.markets else ""
        yield market.verdict or ""
        yield " ".join(market.instead)
        yield skill_markdown(market)
        yield f"[MLflow run {market.mlflow_run_id}]({market.mlflow_url})  \nReport: `{market.report}`"
    yield f"*{summary.note}*"
    yield from summary.warnings
    if summary.left_out:
        yield "Left out: " + "; ".join(f"**{row['ticker']}**: {row['reason']}" for row in summary.left_out)
    if summary.stale:
        yield "Not up to date: " + "; ".join(f"**{row['ticker']}**: {row['reason']}" for row in summary.stale)
    if summary.unseen:
        yield f"Forecast though not trained on: {', '.join(summary.unseen)}"


def skill_markdown(summary: Summary) -> str:
    """Return skill and p against each baseline by horizon as a markdown table."""
    if not summary.skill:
        return ""
    baselines = list(next(iter(summary.skill.values())))
    head = ["| horizon | " + " | ".join(baselines) + " |", "|" + " --- |" * (len(baselines) + 1)]
    rows = [
        f"| {horizon} | " + " | ".join(cell(summary, horizon, name) for name in baselines) + " |"
        for horizon in summary.skill
    ]
    return "Skill against each baseline:\n\n" + "\n".join(head + rows)


def cell(summary: Summary, horizon: str, baseline: str) -> str:
    """Return one skill with its p."""
    skill, p = summary.skill[horizon][baseline], summary.dm_p[horizon][baseline]
    if skill is None:
        return "-"
    return f"{skill:+.2%}" + ("" if p is None else f" ({p_value(p)})")
