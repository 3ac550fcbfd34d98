"""Runs of earlier versions: their specifications keep counting once, under the names of today."""

from dataclasses import replace

import numpy as np
import pytest
from mlflow.tracking import MlflowClient

from pipeline.experiment import Experiment
from pipeline.tracking import tested_specifications
from pipeline.tracking.store import Destination, Store, prepare_store
from pipeline.tracking.tested_specifications import (
    SPECIFICATION,
    count_tested,
    earlier_specification_digest,
    specification_digest,
)
from tests.panels import TINY

from .conftest import THIRD_PARTY

pytestmark = THIRD_PARTY

FORMER_NETWORK = {"cell": "lstm", "hidden_size": 48, "dropout": 0.1, "head": {"kind": "quantiles"}}
FORMER_TRAINING = {"epochs": 4, "min_steps": 100, "max_steps": 300, "validation_checks": 12, "patience_checks": 4}
"""The defaults of then."""
PLAIN = {"publish": "network", "calibration": {"method": "none"}}
"""The adaptive correction of then is another than that of now."""
FORMER = Experiment.model_validate({**PLAIN, "network": FORMER_NETWORK, "training": FORMER_TRAINING})
RENAMED = Experiment.model_validate(
    {
        **PLAIN,
        "features": ["log_return", "cross_market_return"],
        "calendar_covariates": ["days_since_previous"],
        "covariates": [
            {"name": "vix", "path": "vix.csv", "column": "close", "publication_lag_days": 1.0, "max_age_days": 9.0}
        ],
        "network": {**FORMER_NETWORK, "hidden_size": 6, "horizon_mode": "decoder", "sampled_paths": 64},
        "training": {"epochs": 4, "min_steps": 3, "max_steps": 7, "validation_checks": 2, "patience_checks": 1},
    }
)


@pytest.mark.parametrize(
    ("experiment", "digest"),
    [
        (FORMER, "4de7f1c23b0803a5b67ce6d7c8e523f2"),
        (RENAMED, "791a26454ec99a87e25dd680bddcb7c5"),
    ],
)
def test_the_earlier_digest_is_what_the_earlier_version_wrote(experiment: Experiment, digest: str) -> None:
    """Both digests were printed by the last version with the earlier names, on commit d88a894."""
    assert earlier_specification_digest(experiment) == digest
    assert specification_digest(experiment) != digest


def to_test(experiment: Experiment) -> tested_specifications.TestedSpecification:
    return tested_specifications.TestedSpecification(
        specification_digest(experiment),
        "these",
        ("A",),
        np.datetime64("2020-01-02"),
        np.datetime64("2021-06-30"),
        earlier_specification_digest(experiment),
    )


def as_before(what: tested_specifications.TestedSpecification) -> tested_specifications.TestedSpecification:
    """The same test as an earlier version recorded it."""
    return replace(what, specification=what.earlier_specification, earlier_specification="")


@pytest.fixture
def earlier(store: Store, request: pytest.FixtureRequest) -> tuple[Store, list[str]]:
    """A store in which an earlier version tested two specifications, one of them twice, once in a deleted run."""
    earlier = prepare_store(Destination(store.uri, None, f"earlier {request.node.name}"))
    client, runs = MlflowClient(tracking_uri=earlier.uri), []
    for experiment in (TINY, TINY, RENAMED):
        tags = as_before(to_test(experiment)).tags
        runs.append(str(client.create_run(earlier.experiment_id, tags=tags).info.run_id))
    client.delete_run(runs[1])
    return earlier, runs


def test_the_count_does_not_change_with_the_names(earlier: tuple[Store, list[str]]) -> None:
    store, _ = earlier
    counts = [count_tested(store, to_test(experiment)).tested for experiment in (TINY, RENAMED, TINY)]
    assert counts == [2, 2, 2]


def test_each_run_of_the_specification_has_its_tag_of_today(earlier: tuple[Store, list[str]]) -> None:
    store, runs = earlier
    client = MlflowClient(tracking_uri=store.uri)
    count_tested(store, to_test(TINY))
    found = [client.get_run(run_id) for run_id in runs]
    assert [run.data.tags[SPECIFICATION] for run in found] == [
        specification_digest(TINY),
        specification_digest(TINY),
        earlier_specification_digest(RENAMED),
    ]
    assert [run.info.lifecycle_stage for run in found] == ["active", "deleted", "active"]
