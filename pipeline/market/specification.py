"""Specifications of sources of bars: read from TOML, shown as a web form, stored with every run."""

from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AwareDatetime, BaseModel, Field, field_validator, model_validator

from pipeline.errors import UsageError
from pipeline.market.exchanges import calendar_named

PriceBasis = Literal["as_traded", "split_adjusted"]
COLLECTION_NAME = r"^[a-z0-9][a-z0-9_-]{0,31}$"
YAHOO = "yahoo"
"""The collection of the store that holds Yahoo's prices."""

Process = Literal["sine", "random_walk", "planted", "planted_volatility", "planted_garch"]

GARCH_PERSISTENCE = 0.95
"""Of planted_garch: the share of the variance's departure from its mean that remains a session later, on average."""

DEFAULT_STRENGTH: dict[Process, float] = {
    "sine": 2.0,
    "random_walk": 0.0,
    "planted": 0.3,
    "planted_volatility": 0.1,
    "planted_garch": 0.35,
}


class SampleSource(BaseModel, frozen=True, extra="forbid"):
    """The bundled real prices of five US stocks, 2000 to 2013."""

    kind: Literal["sample"] = "sample"


class FilesSource(BaseModel, frozen=True, extra="forbid"):
    """Prices from one long CSV or Parquet file, or from a folder with one CSV per ticker."""

    kind: Literal["files"] = "files"
    path: Path = Field(description="A long .csv, .csv.gz or .parquet file, or a folder of TICKER.csv files.")
    price_basis: PriceBasis | None = Field(
        default=None,
        description="Whether prices are as traded or already split-adjusted; empty: a long file is taken as traded, "
        "a folder as split-adjusted (as Yahoo exports it).",
    )
    exchange: str | None = Field(
        default=None,
        description="Exchange of the tickers for which neither a column `exchange` nor the name (INFY.NS) says one, "
        "such as XBOM; empty: New York.",
    )

    @field_validator("exchange")
    @classmethod
    def _known_exchange(cls, exchange: str | None) -> str | None:
        try:
            return None if exchange is None else calendar_named(exchange)
        except UsageError as error:
            raise ValueError(str(error)) from error


class YahooSource(BaseModel, frozen=True, extra="forbid"):
    """Daily prices, dividends and splits from Yahoo Finance."""

    kind: Literal["yahoo"] = "yahoo"
    start: date = Field(default=date(2000, 1, 1), description="The first session requested.")
    max_age_sessions: int = Field(
        default=5, ge=0, le=250, description="A ticker whose last bar is older than this is excluded."
    )


class StoredSource(BaseModel, frozen=True, extra="forbid"):
    """Prices of the local store as they are, or as they were known at an instant; nothing is downloaded."""

    kind: Literal["stored"] = "stored"
    collection: str = Field(default="yahoo", pattern=COLLECTION_NAME, description="yahoo, or the name of an import.")
    as_known: AwareDatetime | None = Field(
        default=None, description="Only what was stored by this instant is used; empty: everything."
    )
    start: date | None = Field(default=None, description="Earlier sessions are not read.")
    max_age_sessions: int | None = Field(
        default=None, ge=0, description="A ticker whose last bar is older than this is excluded; empty: none is."
    )


class SyntheticSource(BaseModel, frozen=True, extra="forbid"):
    """Synthetic prices whose predictable part is known, to test the whole pipeline."""

    kind: Literal["synthetic"] = "synthetic"
    process: Process = Field(default="sine", description="The process of the daily log return.")
    sessions: int = Field(default=1500, ge=2, le=7500, description="Sessions of every ticker.")
    tickers: int = Field(default=8, ge=1, le=999, description="How many tickers.")
    seed: int = Field(default=0, ge=0, description="Same seed, same prices.")
    end: date = Field(default=date(2024, 12, 31), description="No session is later than this day.")
    noise: float = Field(default=0.01, gt=0, le=0.2, description="Standard deviation of the daily log return's noise.")
    strength: float | None = Field(
        default=None,
        description="sine: amplitude as a multiple of the noise (2); planted: autoregressive coefficient (0.3); "
        "planted_volatility: innovation of the log volatility (0.1); planted_garch: weight of the last squared return "
        "(0.35); random_walk has none. Empty: the default.",
    )
    period_sessions: float = Field(default=40.0, ge=2, description="sine: sessions per period.")

    @property
    def effective_strength(self) -> float:
        """The strength, or the default of the process."""
        return DEFAULT_STRENGTH[self.process] if self.strength is None else self.strength

    @model_validator(mode="after")
    def _strength_fits_the_process(self) -> Self:
        if self.process == "random_walk" and self.strength is not None:
            raise ValueError(f"strength is {self.strength}, but a random_walk has none: leave it out")
        if self.process == "planted" and not abs(self.effective_strength) < 1:
            raise ValueError(f"strength is {self.strength}, but planted needs a coefficient between -1 and 1")
        if self.process == "planted_volatility" and not 0 <= self.effective_strength <= 0.5:
            raise ValueError(f"strength is {self.strength}, but planted_volatility needs one from 0 to 0.5")
        if self.process == "planted_garch" and not 0 <= self.effective_strength <= GARCH_PERSISTENCE:
            raise ValueError(f"strength is {self.strength}, but planted_garch needs one from 0 to {GARCH_PERSISTENCE}")
        return self


def known_at(source: "SourceSpec", at: datetime) -> StoredSource:
    """Return the same prices as stored at an instant; raises UsageError where they are not kept in the store."""
    if isinstance(source, StoredSource):
        return source.model_copy(update={"as_known": at})
    if isinstance(source, YahooSource):
        return StoredSource(as_known=at, start=source.start, max_age_sessions=source.max_age_sessions)
    raise UsageError(
        f"found source {source.kind} to be known at {at:%Y-%m-%d %H:%M}, expected yahoo or stored: of other prices no "
        "versions are kept; name one with --source, or import the file with `tapecast data update --path`"
    )


SourceSpec = Annotated[
    SampleSource | FilesSource | YahooSource | StoredSource | SyntheticSource, Field(discriminator="kind")
]
