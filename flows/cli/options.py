"""Options that several commands share, and the values of an experiment file that they override."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
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


class TutorialChoice(StrEnum):
    """One of the tutorials, or all of them."""

    ALL = "all"
    RNNCELL = "rnncell"
    NOISY_SINE = "noisy-sine"
    RELU_SEQUENCE = "relu-sequence"
    SEQ2SEQ_TOY = "seq2seq-toy"
    CONCAT_CELL = "concat-cell"
    ELMAN = "elman"
    OHLC = "ohlc"


class Device(StrEnum):
    """Where networks are trained."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


TickersOption = Annotated[str | None, typer.Option(help="Tickers, separated by commas; default: all the source holds.")]
UniverseOption = Annotated[
    Path | None,
    typer.Option(help="File with tickers, or the name of a list in TAPECAST_HOME/universes."),
]
SourceOption = Annotated[SourceName | None, typer.Option(help="Where the daily bars come from; default: the sample.")]
PathOption = Annotated[Path | None, typer.Option(help="CSV or Parquet file, or folder of CSVs; means --source files.")]
ExchangeOption = Annotated[
    str | None,
    typer.Option(help="Exchange of the file's tickers, such as XBOM, where neither column nor name says one."),
]
AsKnownOption = Annotated[
    str | None,
    typer.Option(help="Use the store as known then: 2026-10-01 (the day's end, UTC) or 2026-10-01T22:30:05."),
]
ExperimentOption = Annotated[Path | None, typer.Option("--experiment", help="TOML file that describes the experiment.")]
DeviceOption = Annotated[Device | None, typer.Option(help="Where networks are trained and forecast.")]
OutOption = Annotated[Path | None, typer.Option(help="Folder for the report; default: under TAPECAST_HOME.")]
TomlOutOption = Annotated[
    Path | None, typer.Option(help="TOML file to write; default: tuned/STUDY.toml in TAPECAST_HOME.")
]
TermsOption = Annotated[
    Path | None, typer.Option(help="TOML file with the terms of the tutorial ohlc (hidden_size = 32).")
]
PublishOption = Annotated[
    bool, typer.Option("--publish", help="Publish the models as a new version, for `tapecast forecast` to use.")
]
ModelOption = Annotated[
    str | None,
    typer.Option("--model", help="Name of the published model; default: daily, of the sample and made prices theirs."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object to standard output, and nothing else.")]
DayOption = Annotated[
    datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Last day of that range of a fixed split.")
]


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
        """The values of an experiment file that these options override."""
        named = self.tickers or self.universe is not None
        return {"tickers": self.tickers, "universe": self.universe} if named else {}


def wanted_by(tickers: str | None, universe: Path | None) -> Wanted:
    """Return which tickers the options name; raises typer.BadParameter where they do so in two ways."""
    if tickers is not None and universe is not None:
        raise typer.BadParameter("found --tickers too; name the tickers in one way", param_hint="--universe")
    return Wanted(names_in(tickers), universe)


@dataclass(frozen=True)
class PublishAs:
    """Whether a run publishes its models, and under which name: None for that of its source."""

    publish: bool
    model: str | None


def publishing_as(publish: bool, model: str | None) -> PublishAs:
    """Return what the options say; raises typer.BadParameter for a name without --publish."""
    if model is not None and not publish:
        raise typer.BadParameter("found it without --publish, expected both or neither", param_hint="--model")
    return PublishAs(publish, model)


def source_values(source: SourceName | None, path: Path | None, exchange: str | None) -> dict[str, Any]:
    """Return the source that the options describe: a path or an exchange alone means files.

    Raises typer.BadParameter for an exchange that is not known, or with a source of another kind.
    """
    named = exchange_named(exchange)
    if named is not None and source not in (None, SourceName.FILES):
        raise typer.BadParameter(f"found it with --source {source}, expected --path", param_hint="--exchange")
    if source is None and path is None and named is None:
        return {}
    place = {name: value for name, value in (("path", path), ("exchange", named)) if value is not None}
    return {"source": {"kind": (source or SourceName.FILES).value, **place}}


def exchange_named(exchange: str | None) -> str | None:
    """Return the calendar of an exchange, None where none is named; raises typer.BadParameter for an unknown one."""
    from pipeline.errors import UsageError  # noqa: PLC0415  --help needs none of it
    from pipeline.market.exchanges import calendar_named  # noqa: PLC0415

    try:
        return None if exchange is None else calendar_named(exchange)
    except UsageError as error:
        raise typer.BadParameter(str(error), param_hint="--exchange") from error


@dataclass(frozen=True)
class PriceFile:
    """A file or folder of prices, and the exchange of its tickers where the options name one."""

    path: Path
    exchange: str | None = None


def file_named(path: Path | None, exchange: str | None) -> PriceFile | None:
    """Return the file that the options name, None without one; raises typer.BadParameter for an exchange alone."""
    named = exchange_named(exchange)
    if path is None and named is not None:
        raise typer.BadParameter("found it without a file, expected --path too", param_hint="--exchange")
    return None if path is None else PriceFile(path, named)


def device_value(device: Device | None) -> dict[str, Any]:
    """Return the device that the option names."""
    return {} if device is None else {"device": device.value}


def is_day(written: str) -> bool:
    """Return whether a time that can be read is a day alone."""
    try:
        date.fromisoformat(written)
    except ValueError:
        return False
    return True


def instant(written: str | None) -> datetime | None:
    """Return the instant that a time stands for, in UTC unless it says otherwise; of a day alone its end.

    Raises typer.BadParameter for what is none, and for one that has not come yet.
    """
    if written is None:
        return None
    try:
        parsed = datetime.fromisoformat(written)
    except ValueError as error:
        found = f"found {written!r}, expected a day as 2026-10-01 or a time as 2026-10-01T22:30:05"
        raise typer.BadParameter(found, param_hint="--as-known") from error
    at = parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)
    if is_day(written):
        at = min(at + timedelta(days=1), datetime.now(UTC)) if at <= datetime.now(UTC) else at
    if at > datetime.now(UTC):
        raise typer.BadParameter(f"found {written}, which has not come yet", param_hint="--as-known")
    return at
