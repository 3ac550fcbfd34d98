"""What was tested before on the same prices, counted over the history of an MLflow experiment.

A run says what it is about to test before it looks: a run that is killed or fails afterwards, or is deleted, counts
like any other, since its test may have been seen. Runs of versions that wrote no such tags cannot be counted.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from mlflow.entities import Run, ViewType
from mlflow.tracking import MlflowClient

from pipeline.evaluation.trials import Trials
from pipeline.experiment import Experiment
from pipeline.forecasters.recurrent.specification import TrainingSpec
from pipeline.forecasting.calibration import CalibrationSpec
from pipeline.market.specification import YAHOO, SourceSpec, StoredSource, SyntheticSource, YahooSource
from pipeline.tracking.runs import write_batches
from pipeline.tracking.store import Store, open_client, translated
from pipeline.tracking.words import LONGEST_TAG
from pipeline.training.jobs import WARM_SETTINGS

SPECIFICATION, TESTED_ON = "tapecast.specification", "tapecast.tested_on"
TICKERS = "tapecast.tested_tickers"
FIRST, LAST = "tapecast.test_first", "tapecast.test_last"
PAGE = 1000


@dataclass(frozen=True)
class Attempt:
    """What a run tests: a specification, on whose prices, and from which session to which (both included)."""

    specification: str
    prices: str  # of which source and calendar
    tickers: tuple[str, ...]
    first: np.datetime64
    last: np.datetime64

    @property
    def tags(self) -> dict[str, str]:
        """The tags that make its run count."""
        return {
            SPECIFICATION: self.specification,
            TESTED_ON: self.prices,
            TICKERS: " ".join(sorted(set(self.tickers)))[:LONGEST_TAG],
            FIRST: str(self.first.astype("datetime64[D]")),
            LAST: str(self.last.astype("datetime64[D]")),
        }


def tried_before(store: Store, run_id: str, attempt: Attempt, tuned: int = 1) -> Trials:
    """Return how many specifications have been tested on these prices, this one among them, and note it in its run.

    Call it when the fits are there and before the first look at their test. Each specification counts once, however
    often it was run, if its test shares a session and a ticker with this one: who leaves out a ticker does not begin
    anew. Those of deleted, failed and killed runs count too. What only money depends on is not counted.
    `tuned` is the experiment's own `trials`. The trials of a search are no tests: they look at validation ranges
    alone. Raises TrackingError.
    """
    with translated(store.uri, f"count what was tested before run {run_id}"):
        client = open_client(store.uri)
        write_batches(client, run_id, tags=attempt.tags)
        others = {run.data.tags[SPECIFICATION] for run in _others(client, store, attempt) if _overlaps(run, attempt)}
    return Trials(tested=1 + len(others), tuned=tuned)


def _others(client: MlflowClient, store: Store, attempt: Attempt) -> Iterator[Run]:
    """Yield the runs of other specifications on the same prices; thousands of daily runs of this one are not read."""
    query = f"tags.`{TESTED_ON}` = '{attempt.prices}' and tags.`{SPECIFICATION}` != '{attempt.specification}'"
    token = None
    while True:
        page = client.search_runs([store.experiment_id], query, ViewType.ALL, PAGE, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _overlaps(run: Run, attempt: Attempt) -> bool:
    """Return whether the tests share a session and a ticker; a run that does not say is taken to."""
    own, tags = attempt.tags, run.data.tags
    apart = {*own[TICKERS].split(" ")}.isdisjoint(tags.get(TICKERS, own[TICKERS]).split(" "))
    before, after = tags.get(LAST, own[FIRST]) < own[FIRST], tags.get(FIRST, own[LAST]) > own[LAST]
    return not (apart or before or after)


def specification_of(experiment: Experiment) -> str:
    """Return the digest of what decides the network's forecasts, but for the prices that it is fitted to.

    The network, its features, training, folds, calibration, horizons and seeds: whoever tries many seeds or ways to
    cut history and keeps the best has tried as many times. Tickers, source, rivals, device and workers play no part;
    neither do settings that have no effect beside the others.
    """
    return _digest(
        {
            "network": experiment.network.model_dump(mode="json"),
            "features": experiment.network_features,
            "sectors": str(experiment.sectors or ""),
            "index": experiment.index,
            "covariates": [spec.model_dump(mode="json") for spec in experiment.covariates],
            "ahead": experiment.known_future_names,
            "training": _training(experiment.training),
            "folds": experiment.folds.model_dump(mode="json"),
            "calibration": _calibration(experiment.calibration),
            "horizons": experiment.horizons,
            "seeds": experiment.seeds,
            "seed": experiment.seed,
        }
    )


def _training(training: TrainingSpec) -> dict[str, object]:
    idle = ("deterministic", *(() if training.warm_start else WARM_SETTINGS))
    return training.model_dump(mode="json", exclude={*idle})


def _calibration(calibration: CalibrationSpec) -> dict[str, object]:
    return calibration.model_dump(mode="json", include=None if calibration.method == "adaptive" else {"method"})


def prices_of(source: SourceSpec, calendar: str) -> str:
    """Return the digest of where prices come from and their calendar.

    Prices of Yahoo are the same whether they are asked for or read from the store, and later bars change nothing.
    """
    return _digest({"source": _origin(source), "calendar": calendar})


def _origin(source: SourceSpec) -> list[object]:
    """Return where prices come from, without what only says how many of them are read."""
    if isinstance(source, SyntheticSource):
        made = (source.process, source.seed, source.noise, source.effective_strength, source.period_sessions)
        return [source.kind, *made]
    if isinstance(source, YahooSource | StoredSource):
        return ["stored", source.collection if isinstance(source, StoredSource) else YAHOO]
    return [source.kind]


def _digest(values: object) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:32]
