"""Replay: an issued forecast made again from its data as known then, its model version and its state."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd

from pipeline.errors import FitError, LedgerError, UsageError
from pipeline.forecasting.forecasts import CALIBRATED, COMBINED, QUANTILE_COLUMNS
from pipeline.forecasting.postprocessing_state import PostprocessingState
from pipeline.market.specification import SourceSpec, known_at
from pipeline.operation.environment import Environment, this_environment
from pipeline.operation.ledger.database import Ledger, open_ledger
from pipeline.operation.ledger.entries import Entry
from pipeline.operation.ledger.issues import KEY
from pipeline.operation.ledger.reading import entry_at, last_entry, listed, rows_of_entry
from pipeline.operation.model import common_source
from pipeline.operation.model_versions import read_version
from pipeline.operation.states import get_state
from pipeline.operation.version_files import ModelVersion
from pipeline.workflow.calendar_bars import by_calendar, frames_on
from pipeline.workflow.day_file import read_stages
from pipeline.workflow.forecast import market_members, with_new_members
from pipeline.workflow.issuer import Issuer, live_state
from pipeline.workflow.issuing import forecast_session, ledger_rows, stage_digests
from pipeline.workflow.loading import load
from pipeline.workflow.result import JsonObject
from pipeline.workflow.run_context import RunContext

CLOSE = 1e-5
"""How far log quantiles may differ where the environment is another one."""

Agreement = Literal["identical", "close", "different"]


@dataclass(frozen=True)
class ReplayResult:
    """What came of a replay: how its rows agree with those that were issued, and where they part.

    `environment` names what is another one than at the issue (empty: nothing), `largest` is the largest difference of
    a log quantile, `stage` the first stage whose output differs, None where none does.
    """

    model: str
    sequence: int
    version: int
    calendar: str
    origin: str
    rows: int
    agreement: Agreement
    largest: float
    environment: tuple[str, ...] = ()
    stage: str | None = None

    @property
    def status(self) -> str:
        """Return "ok", or "partial" where the rows differ."""
        return "partial" if self.agreement == "different" else "ok"

    @property
    def sentence(self) -> str:
        """The result in words."""
        changed = f"The environment is another one ({'; '.join(self.environment)}). " if self.environment else ""
        where = f" The first stage that differs: {self.stage}." if self.stage else ""
        of_entry = f"entry {self.sequence} of model {self.model} ({self.rows} rows from {self.origin})"
        match self.agreement:
            case "identical":
                return f"{changed}Replayed {of_entry}: every value is the issued one, bit for bit."
            case "close":
                return f"{changed}Replayed {of_entry}: the largest difference of a log return is {self.largest:.1e}."
        return f"{changed}Replayed {of_entry}: the values differ, by up to {self.largest:.1e} of a log return.{where}"

    def as_json(self) -> JsonObject:
        """Return the object that --json prints."""
        return {"status": self.status, "sentence": self.sentence, **asdict(self)}

    def tables(self) -> Mapping[str, list[JsonObject]]:
        """Return no table: the result is a sentence."""
        return {}


@dataclass(frozen=True)
class Replays:
    """The replays of the entries of a run, in the chain's order."""

    results: tuple[ReplayResult, ...]

    @property
    def status(self) -> str:
        """Return "ok", or "partial" where rows of an entry differ."""
        return "partial" if any(result.status == "partial" for result in self.results) else "ok"

    @property
    def sentence(self) -> str:
        """The results in words, a line each."""
        return "\n".join(result.sentence for result in self.results)

    def as_json(self) -> JsonObject:
        """Return the object that --json prints; that of several entries has the list `entries`."""
        if len(self.results) == 1:
            return self.results[0].as_json()
        entries = [result.as_json() for result in self.results]
        return {"status": self.status, "sentence": self.sentence, "entries": entries}

    def tables(self) -> Mapping[str, list[JsonObject]]:
        """Return no table: the result is sentences."""
        return {}


def replays(context: RunContext, model: str, which: int | str) -> Replays:
    """Replay an entry, by its place in the chain, or all of a run, by the run's id; raises as `replay` does."""
    ledger = open_ledger(context.settings.ledger_url)
    return Replays(tuple(replay(context, model, sequence) for sequence in _entries(ledger, model, which)))


def replay(context: RunContext, model: str, sequence: int) -> ReplayResult:
    """Make the forecasts of an entry of the chain again.

    Raises UsageError where the entry or its version does not exist (any more), FitError where its state is gone,
    SourceError where the store does not know the prices of then.
    """
    ledger = open_ledger(context.settings.ledger_url)
    entry = entry_at(ledger, model, sequence)
    if entry is None:
        raise _no_entry(sequence, model)
    version = read_version(context.settings.models, model, entry.provenance.version)
    context = replace(context, started_at=entry.issued_at, now=entry.issued_at, clock=lambda: entry.issued_at)
    known = entry.provenance
    issuer = Issuer(ledger, version, known.calendar, known.run_id, known.known_at, known.price_basis)
    issued = rows_of_entry(ledger, model, entry.sequence)
    made, stages = _made_again(context, issuer, entry, issued)
    joined = issued.merge(made, on=list(KEY), how="left", suffixes=("_issued", ""), validate="one_to_one")
    if joined["reference_close"].isna().any():
        raise LedgerError(
            f"the replay of entry {entry.sequence} of model {model} has no forecast of "
            f"{joined.loc[joined['reference_close'].isna(), 'ticker'].iloc[0]}, which was issued"
        )
    return _compared(context, entry, joined, stages)


def _entries(ledger: Ledger, model: str, which: int | str) -> list[int]:
    if isinstance(which, int):
        return [which]
    found = [it.sequence for it in listed(ledger, model, 100_000) if it.provenance.run_id.startswith(which)]
    if not found:
        raise _no_entry(which, model)
    return sorted(found)


def _no_entry(which: int | str, model: str) -> UsageError:
    return UsageError(
        f"found no entry {which} of model {model} in the ledger, expected a place in its chain or the id of a run; "
        "`tapecast ledger list` shows them"
    )


def _made_again(
    context: RunContext, issuer: Issuer, entry: Entry, issued: pd.DataFrame
) -> tuple[pd.DataFrame, dict[str, str]]:
    """Return the rows as made again, and the digests of the stages."""
    version, model = issuer.version, issuer.model
    source = _source_then(common_source(version.models), entry)
    tickers = tuple(dict.fromkeys(issued["ticker"]))
    state = _state_after(issuer, entry)
    # All that the run read then, in that order: the numbers of one ticker depend on the others in the last bits.
    read = _read_tickers(version, tickers if state is None else (*state.combination.tickers, *tickers))
    experiment = model.experiment.model_copy(update={"tickers": read, "source": source, "universe": None})
    (bars,) = [it for it in by_calendar(load(context, experiment, tickers)) if it.calendar == issuer.calendar]
    bars = replace(bars, universe=with_new_members(model.universe, tickers))
    frames = frames_on(bars, model.experiment, market_members(context, model, bars))
    session = np.datetime64(entry.last_origin) if state is None else state.session  # stale rows are of earlier ones
    stop = int(np.searchsorted(frames.sessions, session, side="right"))
    cut = frames.until(stop)
    before = last_entry(issuer.ledger, version.name, issuer.calendar, entry.sequence)
    live = forecast_session(issuer, cut, context.now, live_state(issuer, before), tickers)
    return ledger_rows(issuer, live, cut.sessions[-1], context.now), stage_digests(cut)


def _state_after(issuer: Issuer, entry: Entry) -> PostprocessingState | None:
    """Return the state that was stored with an entry; None without one, or where it is gone."""
    digest = entry.provenance.calibration_digest
    with suppress(FitError):
        return get_state(issuer.version.folder.parent, issuer.calendar, digest) if digest else None
    return None


def _source_then(source: SourceSpec, entry: Entry) -> SourceSpec:
    return source if entry.provenance.known_at is None else known_at(source, entry.provenance.known_at)


def _read_tickers(version: ModelVersion, tickers: tuple[str, ...]) -> tuple[str, ...]:
    members = [ticker for model in version.models.values() for ticker in (*model.market_members, *model.other_tickers)]
    return tuple(dict.fromkeys((*members, *tickers)))


def _compared(context: RunContext, entry: Entry, joined: pd.DataFrame, stages: dict[str, str]) -> ReplayResult:
    columns = ("reference_close", *QUANTILE_COLUMNS)
    issued, made = (joined[[f"{name}{end}" for name in columns]].to_numpy() for end in ("_issued", ""))
    difference = np.abs(issued - made)
    difference[:, 0] /= issued[:, 0]
    changed = environment_changes(entry, this_environment())
    identical = issued.tobytes() == made.tobytes()
    close = bool(changed) and bool((difference <= CLOSE).all())
    known = entry.provenance
    return ReplayResult(
        model=known.model,
        sequence=entry.sequence,
        version=known.version,
        calendar=known.calendar,
        origin=entry.last_origin.isoformat(),
        rows=len(joined),
        agreement="identical" if identical else "close" if close else "different",
        largest=float(difference.max()),
        environment=changed,
        stage=None if identical else _first_stage(context, entry, joined, difference, stages),
    )


def environment_changes(entry: Entry, present: Environment) -> tuple[str, ...]:
    """Return what of the environment is another one than at an issue, in words."""
    known = entry.provenance
    facts = {
        "code": (known.code_version, present.code_version),
        "packages": (known.lock_digest[:12], present.lock_digest[:12]),
        "CPU capability": (known.cpu_capability, present.cpu_capability),
    }
    return tuple(f"{name} {found}, at the issue {then}" for name, (then, found) in facts.items() if then != found)


def _first_stage(
    context: RunContext, entry: Entry, joined: pd.DataFrame, difference: np.ndarray, stages: dict[str, str]
) -> str:
    """Return the name of the first stage whose output is another one than at the issue."""
    then = read_stages(context.settings, entry)
    for stage, digest in stages.items():
        if then.get(stage, digest) != digest:
            return stage
    if difference[:, 0].any():
        return "bars"
    forecaster = joined["forecaster"].to_numpy()
    if difference[(forecaster != COMBINED) & (forecaster != CALIBRATED)].any():
        return "predict"
    return "combine" if difference[forecaster == COMBINED].any() else "calibrate"
