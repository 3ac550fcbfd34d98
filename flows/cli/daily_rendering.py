"""Rendering of daily runs and replays on the terminal."""

from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape

from flows.cli.rendering import forecast_table, show_mlflow, show_seconds
from pipeline.workflow.daily_result import daily_sentences, refit_sentence

if TYPE_CHECKING:
    from pipeline.workflow.daily_result import DailyResult
    from pipeline.workflow.replay import Replays


def show_issued(console: Console, result: "DailyResult") -> None:
    """Print what was issued, at once: the forecasts of every calendar, and a sentence for each session."""
    for calendar in result.calendars:
        console.print(f"\n[bold]Model {escape(result.model)}, calendar {escape(calendar.calendar)}[/bold]")
        if calendar.forecasts:
            console.print(forecast_table(calendar.forecasts))
        for sentence in daily_sentences(calendar):
            console.print(escape(sentence))
    for row in result.failed:
        console.print(f"[yellow]{escape(row['ticker'])}[/yellow]: {escape(row['reason'])}")
    console.print("Prices before dividends. No trading advice.", style="dim")


def show_after_issue(console: Console, result: "DailyResult") -> None:
    """Print what followed the issue: reports, records, and a refit."""
    for calendar in result.calendars:
        if calendar.report:
            console.print(f"Report  {calendar.report}", soft_wrap=True)
        show_mlflow(console, calendar.mlflow_url, calendar.recorded)
    if result.page:
        console.print(f"Page    {result.page}", soft_wrap=True)
    if result.refit:
        console.print(f"Refit   {escape(refit_sentence(result.refit))}")
    for warning in result.warnings:
        console.print(escape(warning), style="yellow")
    show_seconds(console, result.seconds)


def show_replay(console: Console, result: "Replays") -> None:
    """Print what came of replays."""
    console.print(escape(result.sentence))
