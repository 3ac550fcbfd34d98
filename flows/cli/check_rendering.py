"""What the terminal shows of a search, an audit, the sanity suite and the tutorials."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from flows.cli.rendering import show_missing, show_mlflow, show_seconds, show_wrong_calendars
from pipeline.wording import setting_value

if TYPE_CHECKING:
    from pipeline.sanity.checks import SanityCheck
    from pipeline.workflow.checks import AuditSummary, SanitySummary
    from pipeline.workflow.result import JsonObject
    from pipeline.workflow.tune_result import TuneResult
    from pipeline.workflow.tutorials import TutorialsSummary

SHOWN_TRIALS = 10


def show_tune(console: Console, result: "TuneResult") -> None:
    """Print what was found, the best trials, and where the experiment and the trials are."""
    show_wrong_calendars(console, result.calendar_mismatches)
    best, *rest = result.sentences
    console.print(f"\n[bold]{escape(best)}[/bold]")
    console.print(trial_table(result))
    for sentence in rest:
        console.print(escape(sentence))
    show_missing(console, result.stale, result.excluded)
    console.print(f"Next    tapecast run --experiment {result.experiment}", soft_wrap=True)
    console.print(f"More    trials with --study {result.study} and a larger --trials", soft_wrap=True)
    show_mlflow(console, result.mlflow_url, result.recorded)
    show_seconds(console, result.seconds)


def trial_table(result: "TuneResult") -> Table:
    """Return a row per trial, the best first: state, validation pinball and values."""
    table = Table(title="Validation pinball x1e4: lower is better", title_justify="left")
    for name in ("trial", "state", "pinball"):
        table.add_column(name, justify="left" if name == "state" else "right", no_wrap=True)
    table.add_column("settings")
    for row in result.trials[:SHOWN_TRIALS]:
        table.add_row(*trial_cells(row))
    if len(result.trials) > SHOWN_TRIALS:
        table.caption = f"{len(result.trials) - SHOWN_TRIALS} more trials in MLflow"
    return table


def trial_cells(row: "JsonObject") -> tuple[str, ...]:
    """Return the cells of one trial; of a pruned one the estimate of its loss."""
    loss = row["validation_pinball"]
    sign = "~" if row["state"] == "pruned" else ""
    settings = ", ".join(f"{short_name(name)} {setting_value(value)}" for name, value in sorted(row["values"].items()))
    return (str(row["trial"]), row["state"], "" if loss is None else f"{sign}{1e4 * loss:.3f}", settings)


def short_name(name: str) -> str:
    """Return a setting's name without its table."""
    return name.split(".", 1)[1]


def show_audit(console: Console, summary: "AuditSummary") -> None:
    """Print the result, how it was found and where to look next; the flow itself has printed its table."""
    show_wrong_calendars(console, summary.calendar_mismatches)
    console.print(f"\n[bold]{escape(summary.verdict)}[/bold]")
    for remark in summary.remarks:
        console.print(escape(remark), style="dim")
    show_mlflow(console, summary.mlflow_url, summary.recorded)
    show_seconds(console, summary.seconds)


def check_table(checks: "Sequence[SanityCheck]") -> Table:
    """Return a row per sanity check, red where its number is out of range."""
    table = Table(title="Sanity checks: every number has to lie in its range", title_justify="left")
    for name in ("check", "measure", "found", "range", ""):
        table.add_column(name, justify="right" if name in ("found", "range") else "left")
    for check in checks:
        style = "green" if check.passed else "bold red"
        result = f"[{style}]{check.result}[/{style}]"
        cells = (escape(check.name), escape(check.measure), f"{check.found:.4g}", check.bounds, result)
        table.add_row(*cells, style=None if check.passed else "red")
    return table


def show_sanity(console: Console, summary: "SanitySummary") -> None:
    """Print the result and where to look next; the table is printed before it, whether all is in range or not."""
    console.print(f"\n[bold]{escape(summary.verdict)}[/bold]")
    show_mlflow(console, summary.mlflow_url, summary.recorded)
    show_seconds(console, summary.seconds)


def show_tutorials(console: Console, summary: "TutorialsSummary") -> None:
    """Print the result and where to look next; the flow itself has printed its table."""
    console.print(f"\n[bold]{escape(summary.verdict)}[/bold]")
    console.print(f"Figures {summary.figures}", soft_wrap=True)
    show_mlflow(console, summary.mlflow_url, summary.recorded)
    show_seconds(console, summary.seconds)
