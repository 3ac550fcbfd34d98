"""The commands of `tapecast model`: they read and change the local store of versions, and start no server."""

import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.markup import escape

from flows.cli.commands import Call
from flows.cli.data_rendering import plain_table
from pipeline.errors import ExitStatus, FitError, TrackingError, UsageError
from pipeline.files import disk_bytes
from pipeline.operation.aliases import Aliases, read_aliases
from pipeline.operation.champion import UnreadableVersion
from pipeline.operation.model_versions import (
    model_names,
    name_to_forecast_with,
    read_version,
    versions,
)
from pipeline.operation.model_versions import promote as promoted
from pipeline.operation.model_versions import prune as pruned
from pipeline.operation.model_versions import rollback as rolled_back
from pipeline.operation.version_files import ModelDescription, VersionDescription, folder_of
from pipeline.settings import Settings
from pipeline.wording import count_of

JsonObject = dict[str, Any]

HEADINGS = {
    "number": "version",
    "aliases": "alias",
    "created": "published",
    "calendars": "calendars",
    "tickers": "tickers",
    "trained_until": "trained until",
    "size_kb": "kB",
}


def list_versions(call: Call, name: str | None) -> int:
    """List the versions of one model or of all; exit status 3 where one cannot be read."""
    folder = Settings().models
    names = (name,) if name is not None else model_names(folder) or (name_to_forecast_with(folder, None),)
    listed = {each: listed_model(folder, each) for each in names}
    call.prints({"models": listed}, lambda console: show_listed(console, listed))
    damaged = any(values["faults"] for values in listed.values())
    return int(ExitStatus.PARTIAL if damaged else ExitStatus.OK)


def listed_model(folder: Path, name: str) -> JsonObject:
    """Return the aliases and versions of a model as plain values, with what cannot be read."""
    found = versions(folder, name)
    try:
        aliases, faults = read_aliases(folder / name), []
    except FitError as error:
        aliases, faults = Aliases(), [str(error)]
    readable = [it for it in found if isinstance(it, VersionDescription)]
    rows = [brief_version(it, aliases, disk_bytes(folder_of(folder / name, it.number))) for it in readable]
    faults += [it.reason for it in found if isinstance(it, UnreadableVersion)]
    return {**asdict(aliases), "versions": rows, "faults": faults}


def brief_version(version: VersionDescription, aliases: Aliases, size_bytes: int) -> JsonObject:
    """Return a version as plain values without its experiments and files."""
    return {
        "number": version.number,
        "aliases": list(aliases.of(version.number)),
        "created_at": version.created_at.isoformat(),
        "calendars": {calendar: brief_model(it) for calendar, it in version.calendars.items()},
        "takeover": asdict(version.takeover),
        "size_bytes": size_bytes,
    }


def brief_model(model: ModelDescription) -> JsonObject:
    """Return a model as plain values without its experiment."""
    return model.model_dump(mode="json", include={"market_members", "trained_until", "backtest"})


def show(call: Call, name: str | None, which: str) -> int:
    """Show one version, every file of it compared with its digest."""
    folder = Settings().models
    name = name or name_to_forecast_with(folder, None)
    found = read_version(folder, name, version_named(which))
    values = {
        "model": name,
        **brief_version(found.description, read_aliases(folder / name), disk_bytes(found.folder)),
        "calendars": {calendar: it.model_dump(mode="json") for calendar, it in found.description.calendars.items()},
        "folder": str(found.folder),
        "files": found.description.files,
    }
    call.prints(values, lambda console: show_version(console, values))
    return int(ExitStatus.OK)


def version_named(which: str) -> Any:
    """Return the number or alias that an argument names; raises UsageError for anything else."""
    if which in ("champion", "previous"):
        return which
    if not which.isdecimal():
        raise UsageError(f"found {which!r} as a version, expected its number, champion or previous")
    return int(which)


def promote(call: Call, name: str | None, number: int) -> int:
    """Make a version the champion."""
    folder = Settings().models
    name = name or name_to_forecast_with(folder, None)
    return _finish(call, name, promoted(folder, name, number))


def rollback(call: Call, name: str | None) -> int:
    """Exchange champion and previous."""
    folder = Settings().models
    name = name or name_to_forecast_with(folder, None)
    return _finish(call, name, rolled_back(folder, name))


def prune(call: Call, name: str | None) -> int:
    """Delete old versions."""
    folder = Settings().models
    name = name or name_to_forecast_with(folder, None)
    gone = pruned(folder, name)
    values = {"model": name, "pruned": list(gone.numbers), "freed_bytes": gone.freed_bytes}
    sentence = f"{count_of(len(gone.numbers), 'version')} of {name} deleted, {gone.freed_bytes / 1e6:.1f} MB freed"
    call.prints(values, lambda console: console.print(sentence))
    return int(ExitStatus.OK)


def _finish(call: Call, name: str, aliases: Aliases) -> int:
    """Print the aliases, then move them in MLflow's registry; exit status 3 where that cannot be done."""
    previous = "" if aliases.previous is None else f", previous is version {aliases.previous}"
    sentence = f"Champion of {name} is version {aliases.champion}{previous}"
    call.prints({"model": name, **asdict(aliases)}, lambda console: console.print(sentence))
    from pipeline.workflow.publishing import mirror_moved_aliases  # noqa: PLC0415  brings MLflow

    try:
        mirror_moved_aliases(Settings(), name)
    except TrackingError as error:
        print(f"warning: the aliases are moved, but not in MLflow's registry: {error}", file=sys.stderr)
        return int(ExitStatus.PARTIAL)
    return int(ExitStatus.OK)


def show_listed(console: Console, listed: dict[str, JsonObject]) -> None:
    """Print the versions of each model as a table, the newest first, and what decided on each below it."""
    for name, values in listed.items():
        console.print(f"[bold]{escape(name)}[/bold]")
        if values["versions"]:
            console.print(plain_table(table_of(values["versions"]), HEADINGS))
        for row in reversed(values["versions"]):
            console.print(f"Version {row['number']}: {escape(row['takeover']['sentence'])}", style="dim")
        for fault in values["faults"]:
            console.print(f"[yellow]damaged[/yellow] {escape(fault)}", soft_wrap=True)


def table_of(rows: Sequence[JsonObject]) -> pd.DataFrame:
    """Return a row per version, the newest first, columns HEADINGS."""
    return pd.DataFrame(
        [
            {
                "number": row["number"],
                "aliases": " ".join(row["aliases"]),
                "created": row["created_at"][:16].replace("T", " "),
                "calendars": " ".join(row["calendars"]),
                "tickers": sum(len(model["market_members"]) for model in row["calendars"].values()),
                "trained_until": max(model["trained_until"] for model in row["calendars"].values()),
                "size_kb": round(row["size_bytes"] / 1e3),
            }
            for row in reversed(rows)
        ]
    )


def show_version(console: Console, values: JsonObject) -> None:
    """Print a version: when, why, and the models of its calendars with the backtest behind each."""
    alias = f" ({', '.join(values['aliases'])})" if values["aliases"] else ""
    console.print(f"[bold]{escape(values['model'])}[/bold] version {values['number']}{alias}, {values['created_at']}")
    console.print(escape(values["takeover"]["sentence"]))
    for calendar, model in values["calendars"].items():
        tickers = ", ".join(model["market_members"])
        console.print(f"[bold]{escape(calendar)}[/bold] trained until {model['trained_until']}: {escape(tickers)}")
        if model["backtest"]:
            backtest = model["backtest"]
            console.print(f"Backtest of {backtest['date']}, MLflow run {backtest['mlflow_run_id']}", style="dim")
            console.print(escape(backtest["verdict"]))
    count = count_of(len(values["files"]), "file")
    console.print(f"{count} as their digests say, {values['size_bytes'] / 1e3:,.0f} kB", style="dim")
    console.print(f"{values['folder']}", soft_wrap=True)
