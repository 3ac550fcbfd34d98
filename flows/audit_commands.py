"""The command `tapecast audit`."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from flows.commands import Call, known, usable
from flows.configuration import read_experiment
from flows.server import FOR_A_RUN
from pipeline.audit.specification import AuditSpec
from pipeline.errors import ExitStatus

if TYPE_CHECKING:
    from rich.console import Console

    from flows.audit import Audited
    from flows.terminal import TerminalWatch


def run_audit(
    call: Call, file: Path | None, overrides: Mapping[str, Any], as_known: datetime | None, asked: Mapping[str, Any]
) -> int:
    """Look for leaks in the pipeline of an experiment, and return the exit status; `asked` are AuditSpec's values."""
    experiment, spec = usable(known(read_experiment(file, overrides), as_known), None), AuditSpec(**asked)

    def run(watch: "TerminalWatch") -> "Audited":
        from flows.audit import build_audit  # noqa: PLC0415  brings Prefect, after its environment is set

        return build_audit(watch)(experiment, spec)

    audited, seconds = call.under_prefect(run, FOR_A_RUN)
    audited = replace(audited, seconds={**seconds, **audited.seconds})
    call.tells(audited.as_json(), lambda console: show_audited(console, audited))
    return int(ExitStatus.OK)


def show_audited(console: "Console", audited: "Audited") -> None:
    """Print the verdict, how it was found and where to look next; the flow itself has printed its table."""
    console.print(f"\n[bold]{escape(audited.verdict)}[/bold]")
    for remark in audited.remarks:
        console.print(escape(remark), style="dim")
    console.print(f"MLflow  {audited.mlflow_url}  (start it with `tapecast ui`)", soft_wrap=True)
    console.print(f"Took    {sum(audited.seconds.values()):.0f} s in all stages", style="dim")
