"""Prefect artifacts: the result of a run as markdown and tables in the Prefect UI."""

from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact

from flows.job import Finished
from flows.summary import Summary
from pipeline.reporting.wording import p_value


def show_result(summary: Summary, result: Finished) -> None:
    """Make the artifacts of a finished run: the verdict with links, the forecasts, and what was left out."""
    kind = result.outcome.experiment.source.kind
    create_markdown_artifact(markdown(summary), key=f"result-{kind}", description="Verdict and where to look next")
    if summary.forecasts:
        create_table_artifact(summary.forecasts, key=f"forecasts-{kind}", description="Price quantiles per session")
    if summary.left_out:
        create_table_artifact(summary.left_out, key=f"left-out-{kind}", description="Tickers not forecast, and why")
    if (summary.mlflow_url or "").startswith("http"):
        create_link_artifact(str(summary.mlflow_url), key=f"mlflow-{kind}", link_text="MLflow run")


def markdown(summary: Summary) -> str:
    """Return the result in markdown: verdict first, then the skill table, then where to look."""
    parts = [summary.verdict or "", f"*{summary.note}*", skill_markdown(summary)]
    if summary.left_out:
        parts.append("Left out: " + "; ".join(f"**{row['ticker']}**: {row['reason']}" for row in summary.left_out))
    if summary.unseen:
        parts.append(f"Forecast though not trained on: {', '.join(summary.unseen)}")
    parts.append(f"[MLflow run {summary.mlflow_run_id}]({summary.mlflow_url})  \nReport: `{summary.report}`")
    return "\n\n".join(part for part in parts if part)


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
