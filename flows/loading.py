"""Loading bars as Prefect tasks: retried where the network is, and one bad ticker never stops the rest."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import pandas as pd
from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.futures import wait
from prefect.tasks import Task, exponential_backoff

from flows.tasks import as_task
from pipeline.errors import NothingUsableError, SourceError, SourceUnavailableError, UsageError
from pipeline.experiment import Experiment
from pipeline.market.bars import Admitted, LeftOut
from pipeline.market.door import admit, load, rows_or_error
from pipeline.market.source import Source

RETRIES = 3
RETRY_BACKOFF_SECONDS = 5.0


def load_bars(source: Source, experiment: Experiment, tickers: tuple[str, ...], now: datetime) -> Admitted:
    """Return the checked bars of the tickers; raises NothingUsableError when none came through the door."""
    wanted = tuple(dict.fromkeys(tickers)) or source.tickers()
    if not wanted:
        raise UsageError("found no tickers, and this source does not list its own; name them with --tickers AAPL,MSFT")
    if source.remote:
        admitted = admit(fetch_all(source, wanted), source.returns_from, now, experiment.minimum_sessions)
    else:
        admitted = as_task(load, "load")(source, wanted, now, experiment.minimum_sessions)
    if not admitted.bars.listings:
        raise nothing_left(admitted.left_out)
    return admitted


def nothing_left(left_out: Sequence[LeftOut]) -> NothingUsableError:
    """Return the error that says why no ticker is left."""
    reasons = "; ".join(f"{out.ticker}: {out.reason}" for out in left_out)
    return NothingUsableError(f"no usable ticker is left: {reasons}", left_out)


def fetch_all(
    source: Source, tickers: tuple[str, ...], backoff_seconds: float = RETRY_BACKOFF_SECONDS
) -> dict[str, pd.DataFrame | SourceError]:
    """Return each ticker's rows, or as a value the reason why there are none; a task a ticker, side by side."""
    patient = fetch.with_options(retry_delay_seconds=exponential_backoff(backoff_seconds))
    futures = [patient.submit(source, ticker) for ticker in tickers]
    wait(futures)
    return {ticker: _rows_of(future.state) for ticker, future in zip(tickers, futures, strict=True)}


def _rows_of(state: State[Any]) -> pd.DataFrame | SourceError:
    result = state.result(raise_on_failure=False)
    if isinstance(result, pd.DataFrame | SourceError):
        return result
    raise result  # no failure of a source, but a fault of ours


def _may_help_to_retry(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    return isinstance(state.result(raise_on_failure=False), SourceUnavailableError)


@task(
    name="fetch",
    task_run_name="fetch {ticker}",
    retries=RETRIES,
    retry_jitter_factor=0.5,
    retry_condition_fn=_may_help_to_retry,
    cache_policy=NO_CACHE,
    persist_result=False,
)
def fetch(source: Source, ticker: str) -> pd.DataFrame:
    """Return one ticker's rows from a remote source; raises SourceError."""
    found = rows_or_error(source, ticker)
    if isinstance(found, SourceError):
        raise found
    return found
