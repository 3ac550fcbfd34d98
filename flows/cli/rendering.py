"""What the terminal shows: progress while a run goes on, then a compact table and where to look next."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich import progress as bars
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipeline.wording import p_value

if TYPE_CHECKING:
    from pipeline.training.jobs import FitResult
    from pipeline.workflow.result import BacktestSummary, CalendarSummary, Result, Row

SHOWN_TICKERS = 20


class TerminalProgress:
    """Shows a line per stage and a bar over the fits."""

    def __init__(self, console: Console) -> None:
        self._console = console
        columns = (
            bars.SpinnerColumn(),
            bars.TextColumn("{task.description}"),
            bars.BarColumn(),
            bars.TimeElapsedColumn(),
        )
        self._bars = bars.Progress(*columns, console=console, transient=True)
        self._stage: bars.TaskID | None = None

    @contextmanager
    def showing(self) -> Iterator[None]:
        """Return a context in which progress is shown."""
        with self._bars:
            yield

    def stage_started(self, stage: str) -> None:
        """Show the stage as under way."""
        self._stage = self._bars.add_task(stage, total=None)

    def stage_finished(self, stage: str, seconds: float) -> None:
        """Turn the stage into a line."""
        if self._stage is not None:
            self._bars.remove_task(self._stage)
        self._console.print(f"[green]✓[/green] {stage:<9} {seconds:6.1f} s")

    def fit_finished(self, result: "FitResult", done: int, total: int) -> None:
        """Move the bar, and name the fit."""
        if self._stage is None:
            return
        name = f"{result.job.forecaster.kind} {result.job.fold.name} seed {result.job.seed}"
        text = f"fit {done}/{total}  {name}{'  (cached)' if result.cached else ''}"
        self._bars.update(self._stage, description=text, completed=done, total=total)

    def message(self, text: str) -> None:
        """Print a sentence."""
        self._console.print(escape(text), style="dim")


def show_result(console: Console, result: "Result") -> None:
    """Print the result: verdict and forecasts of each calendar, what was excluded, and where to look next.

    A calendar that the bars do not fit comes before all of it.
    """
    show_wrong_calendars(console, result.calendar_mismatches)
    several = len(result.calendars) > 1
    for one in result.calendars:
        if several:
            console.print(f"\n[bold]Calendar {escape(one.calendar)}[/bold]")
        show_calendar(console, one)
    if result.forecasts:
        console.print("Prices before dividends. No trading advice.", style="dim")
    if result.unseen:
        console.print(f"Forecast though not trained on: {escape(', '.join(result.unseen))}", style="yellow")
    show_missing(console, result.stale, result.excluded)
    for sentence in (*result.warnings, result.calendars[0].note):
        console.print(escape(sentence), style="yellow")
    show_where_next(console, result)


def show_wrong_calendars(console: Console, mismatches: "list[Row]") -> None:
    """Print the calendars that the bars do not fit, and what to do."""
    for row in mismatches:
        console.print(f"[red]wrong calendar?[/red] {escape(row['sentence'])}")


def show_missing(console: Console, stale: "list[Row]", excluded: "list[Row]") -> None:
    """Print the tickers that are not up to date or excluded, with their reasons."""
    for row in stale:
        console.print(f"[yellow]not up to date[/yellow] {escape(row['ticker'])}: {escape(row['reason'])}")
    for row in excluded:
        console.print(f"[yellow]excluded[/yellow] {escape(row['ticker'])}: {escape(row['reason'])}")


def show_calendar(console: Console, one: "CalendarSummary") -> None:
    """Print the verdict, the scores, what the median is, money, and the forecast of one calendar."""
    if one.backtest:
        first, mark, rest = one.backtest.verdict.partition(". ")
        console.print(f"\n[bold]{escape(first + mark)}[/bold]{escape(rest)}")
        console.print(score_table(one.backtest))
        for name, line in (("Echo", one.backtest.echo_in_short), ("Money", one.backtest.money)):
            if line:
                console.print(f"{name:<7} {escape(line)}")
    for sentence in one.instead:
        console.print(f"[yellow]Shown[/yellow]   {escape(sentence)}")
    if one.forecasts:
        console.print(forecast_table(one.forecasts))


def show_where_next(console: Console, result: "Result") -> None:
    """Print the reports' paths, the MLflow runs and the command that opens the pages."""
    several = len(result.calendars) > 1
    for one in result.calendars:
        console.print(f"Report  {one.report}{f'  ({one.calendar})' if several else ''}", soft_wrap=True)
        show_mlflow(console, one.mlflow_url)
    known_at = result.calendars[0].known_at
    if known_at:
        console.print(f"Again   with --as-known {known_at[:19]}, on the prices as they are known now", soft_wrap=True)
    show_seconds(console, result.seconds)


def show_mlflow(console: Console, url: str) -> None:
    """Print where the MLflow run is."""
    console.print(f"MLflow  {url}  (start it with `tapecast ui`)", soft_wrap=True)


def show_seconds(console: Console, seconds: dict[str, float]) -> None:
    """Print the seconds of all stages together."""
    console.print(f"Took    {sum(seconds.values()):.0f} s in all stages", style="dim")


def forecast_table(forecasts: "list[Row]") -> Table:
    """Return a row per ticker: last close, then median and 80 % band at the first and the last horizon."""
    horizons = list(dict.fromkeys((1, max(row["horizon"] for row in forecasts))))
    table = Table(title=f"Forecast {common_origin(forecasts)}: median and 80 % band", title_justify="left")
    table.add_column("ticker", no_wrap=True)
    for name in ("last close", *(heading(forecasts, horizon) for horizon in horizons)):
        table.add_column(name, justify="right", no_wrap=True)
    tickers = list(dict.fromkeys(row["ticker"] for row in forecasts))
    for ticker in tickers[:SHOWN_TICKERS]:
        rows = {row["horizon"]: row for row in forecasts if row["ticker"] == ticker}
        table.add_row(*forecast_cells(rows, horizons, latest_origin(forecasts)))
    if len(tickers) > SHOWN_TICKERS:
        table.caption = f"{len(tickers) - SHOWN_TICKERS} more tickers in the report"
    return table


def latest_origin(forecasts: "list[Row]") -> str:
    """Return the latest session that any forecast was made from."""
    return str(max(row["as_of"] for row in forecasts))


def common_origin(forecasts: "list[Row]") -> str:
    """Return the latest origin in words, with its age where it is not fresh."""
    latest = latest_origin(forecasts)
    age = min(row["age_sessions"] for row in forecasts)
    return f"as of {latest}" + (f" ({age} sessions ago)" if age else "")


def heading(forecasts: "list[Row]", horizon: int) -> str:
    """Return the session forecast, or the horizon where the tickers' sessions differ."""
    targets = {row["target_session"] for row in forecasts if row["horizon"] == horizon}
    return targets.pop() if len(targets) == 1 else f"+{horizon} sessions"


def forecast_cells(rows: "dict[int, Row]", horizons: list[int], latest: str) -> list[str]:
    """Return the cells of one ticker; one with an older origin than the others shows it."""
    first = rows[1]
    name = escape(first["ticker"]) + ("" if first["as_of"] == latest else f" ({first['as_of']})")
    bands = [band(rows[h]) for h in horizons]
    return [name, f"{first['reference_close']:.2f}", *bands]


def band(row: "Row") -> str:
    """Return median and 80 % band."""
    return f"{row['q50']:.2f}  {row['q10']:.2f}…{row['q90']:.2f}"


def score_table(backtest: "BacktestSummary") -> Table:
    """Return a row per forecaster at horizon 1: pinball, coverage, and the model's skill with its p."""
    title = "Backtest, one session ahead (* the model; pinball x 1e4, lower is better)"
    table = Table(title=title, title_justify="left")
    for name in ("forecaster", "pinball", "80 % band holds", "skill over it", "test"):
        table.add_column(name, justify="left" if name == "forecaster" else "right", no_wrap=True)
    for name, scores in backtest.scores["1"].items():
        skill, p = backtest.skill["1"].get(name), backtest.dm_p["1"].get(name)
        model = name == backtest.model
        table.add_row(
            f"{name} *" if model else name,
            number(scores["pinball"], 1e4, ".2f") + error(scores["pinball_error"], 1e4, ".2f"),
            number(scores["coverage_80"], 100, ".1f") + error(scores["coverage_80_error"], 100, ".1f", " %"),
            number(skill, 100, "+.2f", " %"),
            "" if p is None else p_value(p),
            style="bold" if model else None,
        )
    return table


def error(value: float | None, factor: float, form: str, unit: str = "") -> str:
    """Return a standard error as text after its number, the unit alone where there is none."""
    return unit if value is None else f" ± {value * factor:{form}}{unit}"


def number(value: float | None, factor: float, form: str, unit: str = "") -> str:
    """Return a number as text, nothing where there is none."""
    return "" if value is None else f"{value * factor:{form}}{unit}"
