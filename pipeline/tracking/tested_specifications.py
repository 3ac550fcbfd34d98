"""Specifications tested before on the same prices, counted over the runs of an MLflow experiment.

A run writes what it tests before the test: a run that fails, is killed or deleted afterwards counts like any other,
since its test may have been seen. Runs of versions that wrote no such tags cannot be counted.
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
from pipeline.forecasters.registry import forecaster_as_json, forecaster_of
from pipeline.forecasters.training_specification import TrainingSpec
from pipeline.forecasting.specification import CalibrationSpec
from pipeline.market.specification import YAHOO, SourceSpec, StoredSource, SyntheticSource, YahooSource
from pipeline.tracking.descriptions import MAX_TAG_LENGTH
from pipeline.tracking.earlier_names import migrate_tags, with_earlier_names
from pipeline.tracking.runs import Record
from pipeline.tracking.store import Store, found_runs, open_client, translated
from pipeline.training.jobs import WARM_SETTINGS

SPECIFICATION, TESTED_ON = "tapecast.specification", "tapecast.tested_on"
TICKERS = "tapecast.tested_tickers"
FIRST, LAST = "tapecast.test_first", "tapecast.test_last"


@dataclass(frozen=True)
class TestedSpecification:
    """What a run tests: a specification, on which prices, from which session to which (both included)."""

    specification: str
    prices: str  # of which source and calendar
    tickers: tuple[str, ...]
    first: np.datetime64
    last: np.datetime64
    earlier_specification: str = ""  # the digest that earlier versions gave the same specification

    @property
    def tags(self) -> dict[str, str]:
        """The tags by which a run is counted."""
        return {
            SPECIFICATION: self.specification,
            TESTED_ON: self.prices,
            TICKERS: " ".join(sorted(set(self.tickers)))[:MAX_TAG_LENGTH],
            FIRST: str(self.first.astype("datetime64[D]")),
            LAST: str(self.last.astype("datetime64[D]")),
        }


def note_tested(record: Record, tested: TestedSpecification) -> None:
    """Write what a run is about to test into it; call it after the fits and before any score on their test range."""
    record.write(tags=tested.tags)


def count_tested(store: Store, tested: TestedSpecification, tuned: int = 1) -> Trials:
    """Return how many specifications have been tested on these prices, including this one, which its run has noted.

    Each specification counts once, however often it was run, if its test shares a session and a ticker with this one,
    so that leaving out a ticker does not reset the count. Deleted, failed and killed runs count too; settings that only
    money depends on do not. `tuned` is the experiment's `trials`: the trials of a search use validation ranges alone
    and are no tests. Runs of this specification by an earlier version get its tag of today first. Raises TrackingError.
    """
    with translated(store.uri, "count what was tested before"):
        client = open_client(store.uri)
        if tested.earlier_specification:
            earlier, current = tested.earlier_specification, tested.specification
            migrate_tags(client, store.experiment_id, SPECIFICATION, earlier, current)
        others = {run.data.tags[SPECIFICATION] for run in _other_runs(client, store, tested) if _overlaps(run, tested)}
    return Trials(tested=1 + len(others), tuned=tuned)


def _other_runs(client: MlflowClient, store: Store, tested: TestedSpecification) -> Iterator[Run]:
    """Return the runs of other specifications on the same prices; the many daily runs of this one are not read."""
    query = f"tags.`{TESTED_ON}` = '{tested.prices}' and tags.`{SPECIFICATION}` != '{tested.specification}'"
    return found_runs(client, store.experiment_id, query, ViewType.ALL)


def _overlaps(run: Run, tested: TestedSpecification) -> bool:
    """Return whether the tests share a session and a ticker; a run without such tags is assumed to."""
    this, other = tested.tags, run.data.tags
    disjoint = {*this[TICKERS].split(" ")}.isdisjoint(other.get(TICKERS, this[TICKERS]).split(" "))
    before, after = other.get(LAST, this[FIRST]) < this[FIRST], other.get(FIRST, this[LAST]) > this[LAST]
    return not (disjoint or before or after)


def specification_digest(experiment: Experiment) -> str:
    """Return the digest of all that determines the published forecasts, except the prices that they are fitted to.

    It covers the network, its features, training, folds, calibration, horizons and seeds, and where the combination is
    published the benchmarks that are combined: selecting the best of many seeds or splits of history is multiple
    testing too. Tickers, source, device and workers are excluded, and so are settings without effect given the others.
    """
    return _digest(_described(experiment))


def earlier_specification_digest(experiment: Experiment) -> str:
    """Return the digest that versions before December 2026 gave this specification."""
    return _digest(with_earlier_names(_described(experiment)))


def _described(experiment: Experiment) -> dict[str, object]:
    return {
        "network": experiment.network.model_dump(mode="json"),
        "features": experiment.network_features,
        "sectors": str(experiment.sectors or ""),
        "index": experiment.index,
        "covariates": [spec.model_dump(mode="json") for spec in experiment.covariates],
        "known_future": experiment.known_future_names,
        "training": _training(experiment.training),
        "folds": experiment.folds.model_dump(mode="json"),
        "calibration": _calibration(experiment.calibration),
        "horizons": experiment.horizons,
        "seeds": experiment.seeds,
        "seed": experiment.seed,
        **_combined(experiment),
    }


def _combined(experiment: Experiment) -> dict[str, object]:
    """Return the benchmarks that are combined in what is published; nothing where that is the network alone."""
    if experiment.publish == "network":
        return {}
    members = [forecaster_as_json(spec) for spec in experiment.benchmarks if forecaster_of(spec).combined]
    return {"combined": sorted(members, key=lambda member: str(member["kind"]))}


def _training(training: TrainingSpec) -> dict[str, object]:
    without_effect = ("deterministic", *(() if training.warm_start else WARM_SETTINGS))
    return training.model_dump(mode="json", exclude={*without_effect})


def _calibration(calibration: CalibrationSpec) -> dict[str, object]:
    return calibration.model_dump(mode="json", include=None if calibration.method == "adaptive" else {"method"})


def prices_digest(source: SourceSpec, calendar: str) -> str:
    """Return the digest of the source of prices and their calendar.

    Prices of Yahoo are the same whether they are downloaded or read from the store, and later bars change nothing.
    """
    return _digest({"source": _origin(source), "calendar": calendar})


def _origin(source: SourceSpec) -> list[object]:
    """Return what identifies a source, without settings that only change how much of it is read."""
    if isinstance(source, SyntheticSource):
        settings = (source.process, source.seed, source.noise, source.effective_strength, source.period_sessions)
        return [source.kind, *settings]
    if isinstance(source, YahooSource | StoredSource):
        return ["stored", source.collection if isinstance(source, StoredSource) else YAHOO]
    return [source.kind]


def _digest(values: object) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:32]
