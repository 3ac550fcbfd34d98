"""The commands that search and check: `tapecast tune`, `audit`, `sanity` and `tutorial`."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from flows.cli.commands import Call
from flows.cli.experiment_file import (
    Overrides,
    as_known_at,
    merged_tables,
    read_experiment,
    read_toml,
    sentence,
    usable,
)
from pipeline.audit.origins import AuditSpec
from pipeline.errors import UsageError
from pipeline.experiment import Experiment
from pipeline.files import refuse_unwritable
from pipeline.settings import Settings
from pipeline.tuning.space import space_of
from pipeline.tuning.trial import SearchSpec
from pipeline.tutorials.ohlc import OhlcSpec

if TYPE_CHECKING:
    from pipeline.sanity.checks import SanityCheck

SEARCH_TABLE = "search"


def run_tune(
    call: Call,
    file: Path | None,
    overrides: Overrides,
    as_known: datetime | None,
    plan: Mapping[str, Any],
    out: Path | None,
) -> int:
    """Search the settings of an experiment; `plan` has what the options say about the search."""
    described, table = read_search(file, overrides)
    experiment = usable(as_known_at(described, as_known), out.parent if out else None)
    search = search_of({**plan, "space": table})
    space_of(table, experiment)  # what cannot be searched is reported before a server is started
    from flows.cli.check_rendering import show_tune  # noqa: PLC0415

    return call.flow(lambda flows: flows.tune(experiment, search, out), show_tune)


def read_search(file: Path | None, overrides: Overrides) -> tuple[Experiment, dict[str, Any]]:
    """Return the experiment of a TOML file with overrides, and its table [search] (empty without one)."""
    values = read_toml(file) if file else {}
    table = values.pop(SEARCH_TABLE, {})
    if not isinstance(table, dict):
        raise UsageError(f"{file}: search: found {table!r}, expected a table [search] of names and what they may be")
    try:
        return read_experiment(None, merged_tables(values, overrides)), table
    except UsageError as error:
        raise UsageError(f"{file}: {error}" if file else str(error)) from error


def search_of(plan: Mapping[str, Any]) -> SearchSpec:
    """Return the search that the options describe; raises UsageError naming each fault."""
    try:
        return SearchSpec.model_validate({name: value for name, value in plan.items() if value is not None})
    except ValidationError as error:
        raise UsageError("; ".join(f"--{sentence(fault)}" for fault in error.errors())) from error


def run_audit(
    call: Call, file: Path | None, overrides: Overrides, as_known: datetime | None, options: Mapping[str, Any]
) -> int:
    """Look for leaks in the pipeline of an experiment; `options` are AuditSpec's values."""
    experiment = usable(as_known_at(read_experiment(file, overrides), as_known), None)
    spec = AuditSpec(**options)
    from flows.cli.check_rendering import show_audit  # noqa: PLC0415

    return call.flow(lambda flows: flows.audit(experiment, spec), show_audit)


def run_sanity(call: Call, seed: int, seeds: int) -> int:
    """Run the sanity suite; its table is printed whether all is in range or not."""
    from flows.cli.check_rendering import check_table, show_sanity  # noqa: PLC0415

    refuse_unwritable(Settings().root)
    checks: list[SanityCheck] = []

    def keep(new_checks: "Sequence[SanityCheck]", _url: str) -> None:
        checks.extend(new_checks)

    try:
        return call.flow(lambda flows: flows.sanity(seed, seeds), show_sanity, show_checks=keep)
    finally:
        if checks:
            call.console.print(check_table(checks))


def fit_tutorials(call: Call, name: str, seed: int, terms_file: Path | None, out: Path | None) -> int:
    """Fit the networks of a tutorial, or of all of them."""
    from flows.cli.check_rendering import show_tutorials  # noqa: PLC0415

    terms = read_terms(terms_file)
    for folder in (Settings().root, *([out] if out else [])):
        refuse_unwritable(folder)
    return call.flow(lambda flows: flows.tutorial(name, seed, terms, out), show_tutorials)


def read_terms(file: Path | None) -> OhlcSpec:
    """Return the terms of a TOML file, or the default ones; raises UsageError naming each fault."""
    try:
        return OhlcSpec.model_validate(read_toml(file) if file else {})
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}, found {fault['input']!r}" for fault in error.errors()
        )
        known = ", ".join(OhlcSpec.model_fields)
        raise UsageError(f"{file}: {faults}; the terms are {known}") from error
