"""Issuing: the forecasts of the sessions that a model has not forecast yet, kept in the ledger before anything else."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import numpy as np
import pandas as pd

from pipeline.arrays import Array, Sessions
from pipeline.dataset.frames import Frames
from pipeline.experiment import Experiment
from pipeline.forecasting.forecasts import QUANTILE_COLUMNS, price_quantiles
from pipeline.forecasting.live import LiveForecasts, live_forecasts
from pipeline.forecasting.postprocessing import postprocessing_after
from pipeline.forecasting.postprocessing_state import PostprocessingState, state_digest
from pipeline.forecasting.weights import Weights
from pipeline.market.calendars import age_sessions, closed_at, closing_instants, next_sessions, opened_at
from pipeline.operation.environment import this_environment
from pipeline.operation.ledger.entries import Entry
from pipeline.operation.ledger.issues import COLUMNS, LATE, ON_TIME, STALE, Issue, Provenance
from pipeline.operation.ledger.reading import rows_of_origin
from pipeline.operation.ledger.writing import Appended, append
from pipeline.operation.publication import marked
from pipeline.workflow.issuer import Issuer, kept, usable_state
from pipeline.workflow.run_context import RunContext

GRACE = timedelta(hours=3)
"""Where the next session opens at once, as around the clock, a forecast is on time within this after the close."""


@dataclass(frozen=True, eq=False)
class IssuedSession:
    """What was issued of one session: its entry in the ledger, with how many rows are new."""

    session: date
    status: str  # ON_TIME or LATE; STALE where only forecasts from older bars were still to be issued
    appended: Appended
    stages: dict[str, str]  # stage -> digest of its output


@dataclass(frozen=True, eq=False)
class Issued:
    """The forecasts of one calendar as the ledger has them, in prices, and the sessions that were issued for them.

    `forecasts` has a row per ticker, horizon and forecaster of the last session (of a stale ticker: of its own last
    one). `skipped` says why nothing new was issued, or why sessions are missing; empty where all is as planned.
    `behind` counts the completed sessions whose bars are not there yet.
    """

    forecasts: pd.DataFrame
    sessions: tuple[IssuedSession, ...]
    skipped: str = ""
    behind: int = 0
    warnings: tuple[str, ...] = ()
    weights: Weights | None = None  # of the combination at the last session


def issue(context: RunContext, issuer: Issuer, frames: Frames, tickers: Sequence[str]) -> Issued:
    """Return the forecasts of every session since the last issue, after appending them to the ledger.

    A session whose forecasts could have been made earlier is issued as late; what counts is the instant at which the
    rows are appended. What was issued before stands: a second call for the same session adds tickers whose bars have
    arrived since, and nothing else. Raises LedgerError.
    """
    last = issuer.last
    due, skipped = sessions_due(issuer, frames, last, context.now)
    state, warnings = usable_state(issuer, last)
    issued, weights = [], None
    for at in due:
        cut = frames.until(at + 1)
        if state is not None and cut.sessions[-1] < state.session:
            continue  # issued before, in an entry that others followed
        live = forecast_session(issuer, cut, context.now, state, tickers)
        state, weights, now = live.state, live.weights, context.clock()
        rows = rows_to_issue(issuer, live, cut.sessions[-1], now)
        if len(rows):
            warnings += kept(issuer, state)
            appended = append(issuer.ledger, Issue(provenance(issuer, state), now, rows))
            session = IssuedSession(_day(cut.sessions[-1]), rows["status"].iloc[0], appended, stage_digests(cut))
            issued.append(session)
    shown = issued_forecasts(issuer, frames, tickers, context.now)
    behind = age_sessions(issuer.calendar, frames.sessions[-1], context.now)
    skipped = skipped or ("" if issued else _already(last))
    return Issued(shown, tuple(issued), skipped, behind, tuple(warnings), weights)


def sessions_due(issuer: Issuer, frames: Frames, last: Entry | None, now: datetime) -> tuple[list[int], str]:
    """Return the indices of the sessions to issue, oldest first, and why there are fewer than one would expect.

    The last session is always among them, once its bars have settled: tickers whose bars came late are still to be
    issued. Sessions that the model was trained on are not issued.
    """
    count, reasons = len(frames.sessions), []
    first = trained = count - 1
    if last is not None:
        first = int(np.searchsorted(frames.sessions, np.datetime64(last.last_origin), side="right"))
        trained = int(np.searchsorted(frames.sessions, np.datetime64(issuer.model.trained_until)))
    due = list(range(max(first, trained), count)) or [count - 1]
    if behind := age_sessions(issuer.calendar, frames.sessions[-1], now):
        reasons.append(f"the bars of {behind} completed session(s) are not there yet")
    if trained > first:
        reasons.append(
            f"{trained - first} missed session(s) lie before the end of the model's training and are not issued"
        )
    if now < closed_at(issuer.calendar, frames.sessions[-1]) + issuer.delay:
        due.remove(count - 1)
        minutes = issuer.delay.total_seconds() / 60
        reasons.append(f"{frames.sessions[-1]} closed less than {minutes:.0f} minutes ago")
    return due, "; ".join(reasons)


def forecast_session(
    issuer: Issuer, frames: Frames, now: datetime, state: PostprocessingState | None, tickers: Sequence[str]
) -> LiveForecasts:
    """Return the model's forecasts from the last session of frames, combined and calibrated from a state on."""
    model, experiment = issuer.model, issuer.model.experiment
    trained_until = np.datetime64(model.trained_until)
    rule = postprocessing_after(trained_until, experiment.folds, experiment.postprocessing, state)
    return live_forecasts(model.fits, frames, issuer.calendar, now, rule, tickers)


def rows_to_issue(issuer: Issuer, live: LiveForecasts, session: np.datetime64, now: datetime) -> pd.DataFrame:
    """Return the rows that the ledger does not have yet; of a stale ticker those whose target is still open."""
    rows = ledger_rows(issuer, live, session, now)
    closes = closing_instants(issuer.calendar, rows["target_session"].to_numpy("datetime64[D]"))
    closed = (closes <= np.datetime64(int(now.timestamp()), "s")) & (rows["status"] == STALE).to_numpy()
    # Of an origin that was issued nothing is added, as by a forecaster that a later version has.
    origin, issued = ["ticker", "as_of"], _issued_of(issuer, rows)
    known = pd.MultiIndex.from_frame(rows[origin]).isin(pd.MultiIndex.from_frame(issued[origin]))
    new: pd.DataFrame = rows[~known & ~closed]
    return new.sort_values("status", key=lambda column: column == STALE, kind="stable")


def ledger_rows(issuer: Issuer, live: LiveForecasts, session: np.datetime64, now: datetime) -> pd.DataFrame:
    """Return forecasts as rows of the ledger, with how they are issued now."""
    published = marked(live.rows, issuer.model.publication)["published"]
    quantiles = dict(zip(QUANTILE_COLUMNS, live.log_quantiles.astype(np.float64).T, strict=True))
    fresh = live.rows["as_of"].to_numpy("datetime64[D]") == session
    status = np.where(fresh, ON_TIME if is_on_time(issuer.calendar, session, now) else LATE, STALE)
    return live.rows.assign(**quantiles, published=published, status=status)[list(COLUMNS)]


def stage_digests(frames: Frames) -> dict[str, str]:
    """Return a digest of what each stage gave up to the last session, for a replay to find the first that differs."""
    arrays = {
        "bars": (frames.reference_close, frames.log_return),
        "features": (frames.features, frames.volatility, frames.known_future),
    }
    return {stage: hashlib.sha256(b"".join(map(_bytes, of_stage))).hexdigest() for stage, of_stage in arrays.items()}


def _bytes(array: Array) -> bytes:
    return np.ascontiguousarray(array).tobytes()


def is_on_time(calendar: str, session: np.datetime64, now: datetime) -> bool:
    """Return whether a forecast made now from a session is on time: before the next session opens."""
    (following,) = next_sessions(calendar, session, 1)
    return now < max(opened_at(calendar, following), closed_at(calendar, session) + GRACE)


def provenance(issuer: Issuer, state: PostprocessingState | None) -> Provenance:
    """Return where the rows of an issue come from."""
    environment = this_environment()
    return Provenance(
        model=issuer.version.name,
        version=issuer.version.number,
        calendar=issuer.calendar,
        experiment_digest=experiment_digest(issuer.model.experiment),
        calibration_digest=state_digest(state) if state else None,
        code_version=environment.code_version,
        lock_digest=environment.lock_digest,
        cpu_capability=environment.cpu_capability,
        known_at=issuer.known_at,
        price_basis=issuer.price_basis,
        backtest=issuer.model.backtest,
        run_id=issuer.run_id,
    )


def experiment_digest(experiment: Experiment) -> str:
    """Return the SHA-256 of an experiment."""
    return hashlib.sha256(experiment.model_dump_json().encode()).hexdigest()


def issued_forecasts(issuer: Issuer, frames: Frames, tickers: Sequence[str], now: datetime) -> pd.DataFrame:
    """Return the forecasts from each ticker's last origin as the ledger has them, in prices, with `published`."""
    origins = last_origins(frames, tickers)
    keys = pd.DataFrame({"ticker": list(origins), "as_of": list(origins.values()), "horizon": 1, "forecaster": ""})
    rows = _issued_of(issuer, keys.astype({"as_of": "datetime64[s]"}))
    prices = price_quantiles(
        rows["reference_close"].to_numpy()[:, None], rows[list(QUANTILE_COLUMNS)].to_numpy(np.float32)
    )
    ages = {day: age_sessions(issuer.calendar, day, now) for day in set(origins.values())}
    return rows.assign(
        age_sessions=[ages[day] for day in rows["as_of"].to_numpy("datetime64[D]")],
        **dict(zip(QUANTILE_COLUMNS, prices.T, strict=True)),
    )


def last_origins(frames: Frames, tickers: Sequence[str]) -> dict[str, np.datetime64]:
    """Return the last session at which each ticker could be forecast; one that never could is left out."""
    usable = {ticker: np.flatnonzero(frames.usable[frames.tickers.index(ticker)]) for ticker in tickers}
    return {ticker: frames.sessions[at[-1]] for ticker, at in usable.items() if len(at)}


def _issued_of(issuer: Issuer, keys: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the ledger of these tickers and origins."""
    days: Sessions = np.unique(keys["as_of"].to_numpy("datetime64[D]"))
    parts = [rows_of_origin(issuer.ledger, issuer.version.name, _day(day), issuer.calendar) for day in days]
    found = pd.concat([part for part in parts if len(part)] or parts[:1], ignore_index=True)
    pairs = set(zip(keys["ticker"], keys["as_of"].to_numpy("datetime64[D]"), strict=True))
    wanted = [pair in pairs for pair in zip(found["ticker"], found["as_of"].to_numpy("datetime64[D]"), strict=True)]
    return found[np.array(wanted, dtype=bool)].reset_index(drop=True)


def _already(last: Entry | None) -> str:
    if last is None:
        return "no ticker has a forecast that is still open"
    return f"{last.last_origin} was issued at {last.issued_at:%Y-%m-%d %H:%M} UTC, and no later session has closed"


def _day(session: np.datetime64) -> date:
    day: date = session.astype("datetime64[D]").item()
    return day
