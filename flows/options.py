"""Options that several commands share, and what they say over an experiment file."""

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer


class SourceName(StrEnum):
    """Where daily bars come from."""

    SAMPLE = "sample"
    FILES = "files"
    YAHOO = "yahoo"
    STORED = "stored"
    SYNTHETIC = "synthetic"


class Device(StrEnum):
    """Where networks are trained."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


DAYS_AND_TIMES = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]

Tickers = Annotated[str | None, typer.Option(help="Tickers, separated by commas; default: all the source holds.")]
Universe = Annotated[Path | None, typer.Option(help="File of tickers: one a line, or CSV with membership dates.")]
Source = Annotated[SourceName | None, typer.Option(help="Where the daily bars come from; default: the sample.")]
DataPath = Annotated[Path | None, typer.Option(help="CSV or Parquet file, or folder of CSVs; means --source files.")]
AsKnown = Annotated[
    datetime | None,
    typer.Option(formats=DAYS_AND_TIMES, help="Use the store as known at this UTC time (a day: at its end)."),
]
File = Annotated[Path | None, typer.Option("--experiment", help="TOML file that describes the experiment.")]
DeviceOption = Annotated[Device | None, typer.Option(help="Where networks are trained.")]
Out = Annotated[Path | None, typer.Option(help="Folder for the report; default: under TAPECAST_HOME.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object to standard output, and nothing else.")]
Day = Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Last day of that range of a fixed split.")]


def names_in(tickers: str | None) -> tuple[str, ...]:
    """Return the tickers of a comma-separated list, none without one; raises typer.BadParameter where it is empty."""
    if tickers is None:
        return ()
    names = tuple(name.strip() for name in tickers.split(",") if name.strip())
    if not names:
        raise typer.BadParameter(
            "no ticker named; leave the option out for all that the source holds", param_hint="--tickers"
        )
    return names


@dataclass(frozen=True)
class Wanted:
    """Which tickers the options name: some by name, or those of a file, or neither."""

    tickers: tuple[str, ...]
    universe: Path | None

    @property
    def overrides(self) -> dict[str, Any]:
        """What that says over an experiment file."""
        named = self.tickers or self.universe is not None
        return {"tickers": self.tickers, "universe": self.universe} if named else {}


def wanted_by(tickers: str | None, universe: Path | None) -> Wanted:
    """Return which tickers the options name; raises typer.BadParameter where they do so in two ways."""
    if tickers is not None and universe is not None:
        raise typer.BadParameter("found --tickers too; name the tickers in one way", param_hint="--universe")
    return Wanted(names_in(tickers), universe)


def source_values(source: SourceName | None, path: Path | None) -> dict[str, Any]:
    """Return what the options say about the source: a path alone means files."""
    if source is None and path is None:
        return {}
    place = {"path": path} if path is not None else {}
    return {"source": {"kind": (source or SourceName.FILES).value, **place}}


def device_value(device: Device | None) -> dict[str, Any]:
    """Return what the option says about the device."""
    return {} if device is None else {"device": device.value}


def instant(written: datetime | None) -> datetime | None:
    """Return the UTC instant that a time stands for, the end of the day where only a day is given."""
    if written is None:
        return None
    if written.time() == time.min:
        written += timedelta(days=1)
    return written.replace(tzinfo=UTC)
