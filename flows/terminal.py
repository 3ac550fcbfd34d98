"""What a person sees on the terminal: progress while a run goes on, then a compact table and where to look next."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from pipeline.training.jobs import FitResult
from pipeline.wording import p_value
from pipeline.workflow.result import Row, Summary

SHOWN_TICKERS = 20


class TerminalWatch:
    """Shows a line per stage and a bar over the fits."""

    def __init__(self, console: Console) -> None:
        self._console = console
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
        self._progress = Progress(*columns, console=console, transient=True)
        self._stage: TaskID | None = None

    @contextmanager
    def showing(self) -> Iterator[None]:
        """Show progress within."""
        with self._progress:
            yield

    def begins(self, stage: str) -> None:
        """Show the stage as going on."""
        self._stage = self._progress.add_task(stage, total=None)

    def ends(self, stage: str, seconds: float) -> None:
        """Turn the stage into a line."""
        if self._stage is not None:
            self._progress.remove_task(self._stage)
        self._console.print(f"[green]✓[/green] {stage:<9} {seconds:6.1f} s")

    def fitted(self, result: FitResult, done: int, total: int) -> None:
        """Move the bar, and name the fit."""
        if self._stage is None:
            return
        name = f"{result.job.forecaster.kind} {result.job.fold.name} seed {result.job.seed}"
        text = f"fit {done}/{total}  {name}{'  (kept)' if result.kept else ''}"
        self._progress.update(self._stage, description=text, completed=done, total=total)

    def says(self, text: str) -> None:
        """Print a sentence."""
        self._console.print(escape(text), style="dim")


def show_summary(console: Console, summary: Summary) -> None:
    """Print the result: verdict and forecasts of each market, what was left out, and where to look next."""
    for market in summary.markets or [summary]:
        if summary.markets:
            console.print(f"\n[bold]Calendar {escape(str(market.calendar))}[/bold]")
        show_market(console, market)
    if summary.forecasts:
        console.print("Prices before dividends. No trading advice.", style="dim")
    if summary.unseen:
        console.print(f"Not trained on, forecast all the same: {escape(', '.join(summary.unseen))}", style="yellow")
    for row in summary.stale:
        console.print(f"[yellow]not up to date[/yellow] {escape(row['ticker'])}: {escape(row['reason'])}")
    for row in summary.left_out:
        console.print(f"[yellow]left out[/yellow] {escape(row['ticker'])}: {escape(row['reason'])}")
    for sentence in (*summary.warnings, *([summary.note] if summary.note else [])):
        console.print(escape(sentence), style="yellow")
    where_next(console, summary)


def show_market(console: Console, summary: Summary) -> None:
    """Print the verdict, the scores, what the median is, money, and the forecast of one market."""
    if summary.verdict:
        first, mark, rest = summary.verdict.partition(". ")
        console.print(f"\n[bold]{escape(first + mark)}[/bold]{escape(rest)}")
    if summary.scores:
        console.print(score_table(summary))
    for name, line in (("Echo", summary.echo_in_short), ("Money", summary.money)):
        if line:
            console.print(f"{name:<7} {escape(line)}")
    for sentence in summary.instead:
        console.print(f"[yellow]Shown[/yellow]   {escape(sentence)}")
    if summary.forecasts:
        console.print(forecast_table(summary.forecasts))


def where_next(console: Console, summary: Summary) -> None:
    """Print the reports' paths, the MLflow runs and the command that opens the pages."""
    for market in summary.markets or [summary]:
        of = f"  ({market.calendar})" if summary.markets else ""
        console.print(f"Report  {market.report}{of}", soft_wrap=True)
        console.print(f"MLflow  {market.mlflow_url}  (start it with `tapecast ui`)", soft_wrap=True)
    if summary.known_at:
        console.print(
            f"Again   with --as-known {summary.known_at[:19]}, on the prices as they are known now", soft_wrap=True
        )
    console.print(f"Took    {sum(summary.seconds.values()):.0f} s in all stages", style="dim")


def forecast_table(forecasts: list[Row]) -> Table:
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


def latest_origin(forecasts: list[Row]) -> str:
    """Return the latest session that any forecast was made from."""
    return str(max(row["as_of"] for row in forecasts))


def common_origin(forecasts: list[Row]) -> str:
    """Return the latest origin in words, with its age where it is not fresh."""
    latest = latest_origin(forecasts)
    age = min(row["age_sessions"] for row in forecasts)
    return f"as of {latest}" + (f" ({age} sessions ago)" if age else "")


def heading(forecasts: list[Row], horizon: int) -> str:
    """Return the session forecast, or how far it lies ahead where the tickers' sessions differ."""
    targets = {row["target_session"] for row in forecasts if row["horizon"] == horizon}
    return targets.pop() if len(targets) == 1 else f"+{horizon} sessions"


def forecast_cells(rows: dict[int, Row], horizons: list[int], latest: str) -> list[str]:
    """Return the cells of one ticker; one with an older origin than the others shows it."""
    first = rows[1]
    name = escape(first["ticker"]) + ("" if first["as_of"] == latest else f" ({first['as_of']})")
    bands = [band(rows[h]) for h in horizons]
    return [name, f"{first['reference_close']:.2f}", *bands]


def band(row: Row) -> str:
    """Return median and 80 % band."""
    return f"{row['q50']:.2f}  {row['q10']:.2f}…{row['q90']:.2f}"


def score_table(summary: Summary) -> Table:
    """Return a row per forecaster at horizon 1: pinball, coverage, and the model's skill with its p."""
    title = "Backtest, one session ahead (* the model; pinball x 1e4, lower is better)"
    table = Table(title=title, title_justify="left")
    for name in ("forecaster", "pinball", "80 % band holds", "skill over it", "test"):
        table.add_column(name, justify="left" if name == "forecaster" else "right", no_wrap=True)
    for name, scores in summary.scores["1"].items():
        skill, p = summary.skill["1"].get(name), summary.dm_p["1"].get(name)
        model = name == summary.model
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
