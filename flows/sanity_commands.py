"""The command `tapecast sanity`."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from flows.commands import Call
from flows.server import FOR_A_RUN
from pipeline.errors import ExitStatus
from pipeline.files import refuse_unwritable
from pipeline.sanity.check import Check
from pipeline.settings import Settings

if TYPE_CHECKING:
    from rich.console import Console

    from flows.sanity import Checked
    from flows.terminal import TerminalWatch


def run_sanity(call: Call, seed: int, seeds: int) -> int:
    """Run the sanity suite and return the exit status; its table is printed whether all is in range or not."""
    refuse_unwritable(Settings().root)
    found: list[Check] = []

    def run(watch: "TerminalWatch") -> "Checked":
        from flows.sanity import build_sanity  # noqa: PLC0415  brings Prefect, after its environment is set

        return build_sanity(watch, found.extend)(seed, seeds)

    try:
        checked, seconds = call.under_prefect(run, FOR_A_RUN)
    finally:
        if found:
            call.console().print(checks_table(found))
    checked = replace(checked, seconds={**seconds, **checked.seconds})
    call.tells(checked.as_json(), lambda console: show_checked(console, checked))
    return int(ExitStatus.OK)


def checks_table(checks: Sequence[Check]) -> Table:
    """Return a row per check, red where its number is out of range."""
    table = Table(title="Sanity checks: every number has to lie in its range", title_justify="left")
    for name in ("check", "measure", "found", "range", ""):
        table.add_column(name, justify="right" if name in ("found", "range") else "left")
    for one in checks:
        word, style = ("in range", "green") if one.passed else ("OUT OF RANGE", "bold red")
        bounds = f"{one.low:.4g} to {one.high:.4g}"
        cells = (escape(one.name), escape(one.measure), f"{one.found:.4g}", bounds, f"[{style}]{word}[/{style}]")
        table.add_row(*cells, style=None if one.passed else "red")
    return table


def show_checked(console: "Console", checked: "Checked") -> None:
    """Print the verdict and where to look next; the table stands above."""
    console.print(f"\n[bold]{escape(checked.verdict)}[/bold]")
    console.print(f"MLflow  {checked.mlflow_url}  (start it with `tapecast ui`)", soft_wrap=True)
    console.print(f"Took    {sum(checked.seconds.values()):.0f} s in all stages", style="dim")
