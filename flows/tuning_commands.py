"""The command `tapecast tune`: its file may have a table [search] beside the experiment."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from flows.commands import Call, known, usable
from flows.configuration import merged, read_experiment, read_toml, sentence
from flows.server import FOR_A_RUN
from pipeline.errors import ExitStatus, UsageError
from pipeline.experiment import Experiment
from pipeline.tuning.plan import SearchSpec
from pipeline.tuning.space import space_of

if TYPE_CHECKING:
    from flows.terminal import TerminalWatch
    from pipeline.workflow.tune import Tuned

SEARCH = "search"


def tune_settings(
    call: Call,
    file: Path | None,
    overrides: Mapping[str, Any],
    as_known: datetime | None,
    plan: Mapping[str, Any],
    out: Path | None,
) -> int:
    """Search the settings of an experiment; `plan` has what the options say about the search."""
    described, table = read_search(file, overrides)
    experiment = usable(known(described, as_known), out.parent if out else None)
    search = search_of({**plan, "space": table})
    space_of(table, experiment)  # what cannot be searched is told before a server is started

    def run(watch: "TerminalWatch") -> "Tuned":
        from flows.tune import build_tune  # noqa: PLC0415  brings Prefect, after its environment is set

        return build_tune(watch)(experiment, search, out)

    tuned, seconds = call.under_prefect(run, FOR_A_RUN)
    tuned = replace(tuned, seconds={**seconds, **tuned.seconds})

    from flows.tuning_terminal import show_tuned  # noqa: PLC0415

    call.tells(tuned.as_json(), lambda console: show_tuned(console, tuned))
    return int(ExitStatus.PARTIAL if tuned.status == "partial" else ExitStatus.OK)


def read_search(file: Path | None, overrides: Mapping[str, Any]) -> tuple[Experiment, dict[str, Any]]:
    """Return the experiment of a TOML file with overrides, and its table [search] (empty without one)."""
    values = read_toml(file) if file else {}
    table = values.pop(SEARCH, {})
    if not isinstance(table, dict):
        raise UsageError(f"{file}: search: found {table!r}, expected a table [search] of names and what they may be")
    try:
        return read_experiment(None, merged(values, overrides)), table
    except UsageError as error:
        raise UsageError(f"{file}: {error}" if file else str(error)) from error


def search_of(plan: Mapping[str, Any]) -> SearchSpec:
    """Return the search that the options describe; raises UsageError naming each fault."""
    try:
        return SearchSpec.model_validate({name: value for name, value in plan.items() if value is not None})
    except ValidationError as error:
        raise UsageError("; ".join(f"--{sentence(fault)}" for fault in error.errors())) from error
