"""What the terminal shows: progress while a run goes on, then a compact table and where to look next."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich import progress as bars
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipeline.wording import (
    UNDEFINED,
    duration,
    exclusion_sentence,
    mlflow_address,
    p_value,
    plus_minus,
    price,
    restated_sentence,
    skill,
    split_first_sentence,
    stale_sentence,
    unseen_sentence,
)

if TYPE_CHECKING:
    from pipeline.training.jobs import FitResult
    from pipeline.workflow.result import BacktestSummary, CalendarSummary, JsonObject, Result

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
        self._console.print(f"[green]✓[/green] {stage:<9} {duration(seconds):>10}")

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
    for summary in result.calendars:
        if several:
            console.print(f"\n[bold]Calendar {escape(summary.calendar)}[/bold]")
        show_calendar(console, summary)
    show_after_found(console, result)


def show_found(console: Console, summary: "CalendarSummary") -> None:
    """Print what was found on a calendar, before it is recorded."""
    show_wrong_calendars(console, summary.calendar_mismatches)
    show_calendar(console, summary)


def show_after_found(console: Console, result: "Result") -> None:
    """Print what else there is to know of a result whose calendars are shown: versions, what is missing, records."""
    for summary in result.calendars:
        if summary.backtest and summary.version_in_words:
            console.print(f"Model   {escape(summary.version_in_words)}")
    if result.forecasts:
        console.print("Prices before dividends. No trading advice.", style="dim")
    if result.unseen:
        console.print(escape(unseen_sentence(result.unseen)), style="yellow")
    show_missing(console, result.stale, result.excluded)
    for row in result.restated:
        console.print(restated_sentence(_marked(row["ticker"]), escape(row["what"])))
    for sentence in (*result.warnings, result.calendars[0].note):
        console.print(escape(sentence), style="yellow")
    show_where_next(console, result)


def show_wrong_calendars(console: Console, mismatches: "list[JsonObject]") -> None:
    """Print the calendars that the bars do not fit, and what to do."""
    for row in mismatches:
        console.print(f"[red]wrong calendar?[/red] {escape(row['sentence'])}")


def show_missing(console: Console, stale: "list[JsonObject]", excluded: "list[JsonObject]") -> None:
    """Print the tickers that are not up to date or excluded, with their reasons."""
    for row in stale:
        console.print(stale_sentence(_marked(row["ticker"]), row["age_sessions"], escape(row["reason"])))
    for row in excluded:
        console.print(exclusion_sentence(_marked(row["ticker"]), escape(row["reason"])))


def _marked(ticker: str) -> str:
    return f"[yellow]{escape(ticker)}[/yellow]"


def show_calendar(console: Console, summary: "CalendarSummary") -> None:
    """Print the verdict, the scores, what the median is, money, and the forecast of one calendar."""
    if summary.backtest:
        first, rest = split_first_sentence(summary.backtest.verdict)
        console.print(f"\n[bold]{escape(first)}[/bold] {escape(rest)}".rstrip())
        console.print(score_summary_table(summary.backtest))
        for name, line in (("Echo", summary.backtest.echo_in_short), ("Money", summary.backtest.money)):
            if line:
                console.print(f"{name:<7} {escape(line)}")
    elif summary.version_in_words:
        console.print(f"\nModel   {escape(summary.version_in_words)}")
    for sentence in summary.instead:
        console.print(f"[yellow]Shown[/yellow]   {escape(sentence)}")
    if summary.forecasts:
        console.print(forecast_table(summary.forecasts))
        for sentence in summary.shares:
            console.print(escape(sentence), style="dim")


def show_where_next(console: Console, result: "Result") -> None:
    """Print the reports' paths, the MLflow runs and the command that opens the pages."""
    several = len(result.calendars) > 1
    for summary in result.calendars:
        if summary.report:
            console.print(f"Report  {summary.report}{f'  ({summary.calendar})' if several else ''}", soft_wrap=True)
        show_mlflow(console, summary.mlflow_url, summary.recorded)
    known_at = result.calendars[0].known_at
    if known_at:
        console.print(f"Again   with --as-known {known_at[:19]}, on the prices as they are known now", soft_wrap=True)
    show_seconds(console, result.seconds)


def show_mlflow(console: Console, url: str | None, recorded: bool) -> None:
    """Print where the MLflow run is, and whether it is all there."""
    if url:
        console.print(f"MLflow  {mlflow_address(url)}", soft_wrap=True)
    if not recorded:
        console.print("[yellow]MLflow[/yellow]  not recorded yet: a later run delivers it")


def show_seconds(console: Console, seconds: dict[str, float]) -> None:
    """Print the seconds of all stages together."""
    console.print(f"Took    {duration(sum(seconds.values()))} in all stages", style="dim")


def forecast_table(forecasts: "list[JsonObject]") -> Table:
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


def latest_origin(forecasts: "list[JsonObject]") -> str:
    """Return the latest session that any forecast was made from."""
    return str(max(row["as_of"] for row in forecasts))


def common_origin(forecasts: "list[JsonObject]") -> str:
    """Return the latest origin in words, with its age where it is not fresh."""
    latest = latest_origin(forecasts)
    age = min(row["age_sessions"] for row in forecasts)
    return f"as of {latest}" + (f" ({age} sessions ago)" if age else "")


def heading(forecasts: "list[JsonObject]", horizon: int) -> str:
    """Return the session forecast, or the horizon where the tickers' sessions differ."""
    targets = {row["target_session"] for row in forecasts if row["horizon"] == horizon}
    return targets.pop() if len(targets) == 1 else f"+{horizon} sessions"


def forecast_cells(rows: "dict[int, JsonObject]", horizons: list[int], latest: str) -> list[str]:
    """Return the cells of one ticker; one with an older origin than the others shows it."""
    first = rows[1]
    name = escape(first["ticker"]) + ("" if first["as_of"] == latest else f" ({first['as_of']})")
    bands = [band(rows[h]) for h in horizons]
    return [name, price(first["reference_close"]), *bands]


def band(row: "JsonObject") -> str:
    """Return median and 80 % band."""
    return f"{price(row['q50'])}  {price(row['q10'])}…{price(row['q90'])}"


def score_summary_table(backtest: "BacktestSummary") -> Table:
    """Return a row per forecaster at horizon 1: pinball, coverage, and the model's skill with its p."""
    title = "Backtest, one session ahead (* the model; pinball x 1e4, lower is better)"
    table = Table(title=title, title_justify="left")
    for name in ("forecaster", "pinball", "80 % band holds", "skill over it", "test"):
        table.add_column(name, justify="left" if name == "forecaster" else "right", no_wrap=True)
    for name, scores in backtest.scores["1"].items():
        against = name in backtest.skill["1"]
        model = name == backtest.model
        table.add_row(
            f"{name} *" if model else name,
            with_error(scores, "pinball", 1e4, ".2f"),
            f"{with_error(scores, 'coverage_80', 100, '.1f')} %",
            skill(backtest.skill["1"][name]) if against else "",
            p_value(backtest.dm_p["1"][name]) if against else "",
            style="bold" if model else None,
        )
    return table


def with_error(scores: "JsonObject", name: str, factor: float, form: str) -> str:
    """Return a score with its standard error, "41.47 ± 0.31"; a dash where it is undefined."""
    value = scores[name]
    number = UNDEFINED if value is None else f"{value * factor:{form}}"
    return f"{number} {plus_minus(scores[f'{name}_error'], form, factor)}".strip()
