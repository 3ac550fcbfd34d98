"""The command `tapecast tutorial`."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError
from rich.markup import escape

from flows.commands import Call
from flows.configuration import read_toml
from flows.server import FOR_A_RUN
from pipeline.errors import ExitStatus, UsageError
from pipeline.files import refuse_unwritable
from pipeline.settings import Settings
from pipeline.tutorials.ohlc import OhlcTerms

if TYPE_CHECKING:
    from rich.console import Console

    from flows.terminal import TerminalWatch
    from flows.tutorial import Taught


def run_tutorial(call: Call, name: str, seed: int, terms: Path | None, out: Path | None) -> int:
    """Learn a tutorial, or all of them, and return the exit status."""
    asked = read_terms(terms)
    for folder in (Settings().root, *([out] if out else [])):
        refuse_unwritable(folder)

    def run(watch: "TerminalWatch") -> "Taught":
        from flows.tutorial import build_tutorial  # noqa: PLC0415  brings Prefect, after its environment is set

        return build_tutorial(watch)(name, seed, asked, out)

    taught, seconds = call.under_prefect(run, FOR_A_RUN)
    taught = replace(taught, seconds={**seconds, **taught.seconds})
    call.tells(taught.as_json(), lambda console: show_taught(console, taught))
    return int(ExitStatus.OK)


def read_terms(file: Path | None) -> OhlcTerms:
    """Return the terms of a TOML file, or the usual ones; raises UsageError naming each fault."""
    try:
        return OhlcTerms.model_validate(read_toml(file) if file else {})
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}, found {fault['input']!r}" for fault in error.errors()
        )
        known = ", ".join(OhlcTerms.model_fields)
        raise UsageError(f"{file}: {faults}; the terms are {known}") from error


def show_taught(console: "Console", taught: "Taught") -> None:
    """Print the verdict and where to look next; the flow itself has printed its table."""
    console.print(f"\n[bold]{escape(taught.verdict)}[/bold]")
    console.print(f"Figures {taught.figures}", soft_wrap=True)
    console.print(f"MLflow  {taught.mlflow_url}  (start it with `tapecast ui`)", soft_wrap=True)
    console.print(f"Took    {sum(taught.seconds.values()):.0f} s in all stages", style="dim")
