"""What was tested before: counted over a real store, by specification, prices and sessions."""

import socket
from collections.abc import Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow.tracking import MlflowClient

from pipeline.dataset.folds import FoldSpec
from pipeline.errors import TrackingError
from pipeline.evaluation.trials import Trials
from pipeline.experiment import Experiment
from pipeline.forecasters.har import HarSpec
from pipeline.forecasters.recurrent.specification import RecurrentSpec
from pipeline.forecasters.ridge import RidgeSpec
from pipeline.forecasters.training_specification import TrainingSpec
from pipeline.forecasting.specification import CalibrationSpec
from pipeline.market.specification import (
    FilesSource,
    SampleSource,
    SourceSpec,
    StoredSource,
    SyntheticSource,
    YahooSource,
)
from pipeline.tracking import store as tracking_store
from pipeline.tracking import tested_specifications
from pipeline.tracking.runs import start_run
from pipeline.tracking.store import Destination, Store, prepare_store
from pipeline.tracking.tested_specifications import count_tested, note_tested, prices_digest, specification_digest
from tests.panels import TINY, changed

from .conftest import THIRD_PARTY, delivered, new_record

pytestmark = THIRD_PARTY

FIRST, LAST = np.datetime64("2020-01-02"), np.datetime64("2021-06-30")


def other_size(size: int) -> Experiment:
    return changed(TINY, network=TINY.network.model_copy(update={"hidden_size": size}))


def attempt(
    size: int = 6, prices: str = "these", first: Any = FIRST, last: Any = LAST, tickers: tuple[str, ...] = ("A", "B")
) -> tested_specifications.TestedSpecification:
    return tested_specifications.TestedSpecification(
        specification_digest(other_size(size)), prices, tickers, np.datetime64(first), np.datetime64(last)
    )


@pytest.fixture
def empty(store: Store, request: pytest.FixtureRequest) -> Store:
    """An MLflow experiment of the test's own, in the store of all."""
    return prepare_store(Destination(store.uri, None, f"history {request.node.name}"))


def count(
    store: Store, what: tested_specifications.TestedSpecification, status: str = "FINISHED", tuned: int = 1
) -> Trials:
    """Run what is tested: count as it is about to look, and end."""
    run_id = run_of(store, what)
    trials = count_tested(store, what, tuned)
    MlflowClient(tracking_uri=store.uri).set_terminated(run_id, status)
    return trials


def run_of(store: Store, what: tested_specifications.TestedSpecification) -> str:
    """A run that has noted what it is about to test."""
    return str(MlflowClient(tracking_uri=store.uri).create_run(store.experiment_id, tags=what.tags).info.run_id)


def test_the_first_test_of_all_counts_itself(empty: Store) -> None:
    assert count(empty, attempt()) == Trials(1, 1)


def test_every_other_specification_counts_once(empty: Store) -> None:
    assert [count(empty, attempt(size)).tested for size in (4, 5, 6, 5, 4, 7)] == [1, 2, 3, 3, 3, 4]


def test_the_same_specification_every_day_counts_once(empty: Store) -> None:
    days = [LAST + np.timedelta64(k, "D") for k in range(5)]
    assert [count(empty, attempt(last=day)).tested for day in days] == [1] * 5


def test_other_prices_are_counted_by_themselves(empty: Store) -> None:
    count(empty, attempt(4, prices="others"))
    assert count(empty, attempt(5)).tested == 1
    assert count(empty, attempt(5, prices="others")).tested == 2


def test_only_tests_that_share_sessions_count(empty: Store) -> None:
    count(empty, attempt(4, first="2010-01-04", last="2019-12-31"))
    count(empty, attempt(5, first="2021-07-01", last="2022-12-30"))
    assert count(empty, attempt(6)).tested == 1
    count(empty, attempt(7, first="2010-01-04", last=FIRST))
    assert count(empty, attempt(6)).tested == 2
    count(empty, attempt(8, first=LAST, last="2024-01-02"))
    assert count(empty, attempt(6)).tested == 3


@pytest.mark.parametrize("status", ["FAILED", "KILLED"])
def test_a_run_that_ended_badly_has_shown_its_test(empty: Store, status: str) -> None:
    count(empty, attempt(4), status)
    assert count(empty, attempt(5)).tested == 2


def test_a_run_that_is_still_under_way_counts(empty: Store) -> None:
    run_of(empty, attempt(4))
    assert count(empty, attempt(5)).tested == 2


def test_deleting_runs_does_not_undo_their_tests(empty: Store) -> None:
    client = MlflowClient(tracking_uri=empty.uri)
    for size in (4, 5):
        client.delete_run(run_of(empty, attempt(size)))
    assert count(empty, attempt(6)).tested == 3


def test_runs_that_tested_nothing_do_not_count(empty: Store) -> None:
    client = MlflowClient(tracking_uri=empty.uri)
    client.create_run(empty.experiment_id, tags={"tapecast.kind": "forecast"})
    client.create_run(empty.experiment_id, tags={"tapecast.trial": "1", "mlflow.parentRunId": "0"})
    assert count(empty, attempt(6)).tested == 1


def test_trials_of_a_search_are_tuned_and_not_tested(empty: Store) -> None:
    trials = count(empty, attempt(), tuned=30)
    assert (trials.tested, trials.tuned, trials.total) == (1, 30, 30)


def test_another_mlflow_experiment_is_another_history(empty: Store, store: Store) -> None:
    count(prepare_store(Destination(store.uri, None, "history elsewhere")), attempt(4))
    assert count(empty, attempt(5)).tested == 1


def test_its_run_says_what_it_tests(empty: Store, outbox: Path) -> None:
    what, record = attempt(), new_record(empty, outbox)
    start_run(record, "run", TINY)
    note_tested(record, what)
    tags = MlflowClient(tracking_uri=empty.uri).get_run(delivered(empty, record.journal)).data.tags
    assert {name: tags[name] for name in what.tags} == {
        "tapecast.specification": specification_digest(TINY),
        "tapecast.tested_on": "these",
        "tapecast.tested_tickers": "A B",
        "tapecast.test_first": "2020-01-02",
        "tapecast.test_last": "2021-06-30",
    }


def test_more_runs_than_a_page_holds_are_counted(empty: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for size in range(1, 8):
        run_of(empty, attempt(size))
    monkeypatch.setattr(tracking_store, "RUNS_PER_PAGE", 3)
    assert count(empty, attempt(99)).tested == 8


def test_a_store_that_does_not_answer_is_a_tracking_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(TrackingError, match="could not count what was tested before"):
        count_tested(Store(f"http://127.0.0.1:{port}", "0"), attempt())


SAME: Mapping[str, Mapping[str, Any]] = {
    "tickers": {"tickers": ("T0", "T1")},
    "source": {"source": SampleSource()},
    "device": {"device": "auto"},
    "workers": {"workers": 7},
    "trials": {"trials": 12},
    "deterministic": {"training": TINY.training.model_copy(update={"deterministic": False})},
    "warm_share without warm_start": {"training": TINY.training.model_copy(update={"warm_share": 0.9})},
}
ANOTHER: Mapping[str, Mapping[str, Any]] = {
    "network": {"network": RecurrentSpec(hidden_size=7)},
    "features": {"features": TINY.features[1:]},
    "order of features": {"features": TINY.features[::-1]},
    "index": {"index": "T0"},
    "sectors": {"sectors": Path("sectors.csv")},
    "calendar": {"calendar_covariates": ("half_day",)},
    "covariates": {"covariates": ({"name": "vix", "path": "a.csv", "column": "c", "publication_lag_days": 1},)},
    "training": {"training": TrainingSpec(learning_rate=1e-3)},
    "warm start": {"training": TINY.training.model_copy(update={"warm_start": True})},
    "folds": {"folds": FoldSpec(refit_months=6, validation_months=3)},
    "training window": {"folds": FoldSpec(refit_months=9, validation_months=3, train_years=2)},
    "horizons": {"horizons": 3},
    "seeds": {"seeds": 2},
    "seed": {"seed": 1},
    "benchmarks": {"benchmarks": (HarSpec(),)},
    "publish": {"publish": "network"},
}


def test_benchmarks_are_no_part_of_a_specification_that_publishes_the_network() -> None:
    one, two = (changed(TINY, publish="network", benchmarks=benchmarks) for benchmarks in ((), (HarSpec(),)))
    assert specification_digest(one) == specification_digest(two)
    orders = [changed(TINY, benchmarks=it) for it in ((HarSpec(), RidgeSpec()), (RidgeSpec(), HarSpec()))]
    assert specification_digest(orders[0]) == specification_digest(orders[1])


@pytest.mark.parametrize("values", SAME.values(), ids=SAME)
def test_what_does_not_change_the_network_is_the_same_specification(values: Mapping[str, Any]) -> None:
    assert specification_digest(changed(TINY, **values)) == specification_digest(TINY)


@pytest.mark.parametrize("values", ANOTHER.values(), ids=ANOTHER)
def test_what_changes_the_network_is_another_specification(values: Mapping[str, Any]) -> None:
    assert specification_digest(changed(TINY, **values)) != specification_digest(TINY)


def corrected(**values: Any) -> str:
    return specification_digest(changed(TINY, calibration=CalibrationSpec(**values)))


def test_a_correction_is_another_specification_and_so_are_its_rates_where_they_count() -> None:
    assert corrected(method="adaptive") != corrected(method="none")
    assert corrected(method="adaptive", scale_rate=0.1) != corrected(method="adaptive", scale_rate=0.4)
    assert corrected(method="none", scale_rate=0.1) == corrected(method="none", scale_rate=0.4)


def test_every_field_of_an_experiment_was_thought_of() -> None:
    """A field that is added later has to be put on one side: it is the same specification, or another one."""
    same = {"tickers", "universe", "source", "device", "workers", "trials", "abstain", "money"}
    another = {"network", "features", "index", "sectors", "calendar_covariates", "covariates", "training", "folds"}
    another |= {"benchmarks", "publish", "calibration", "horizons", "seeds", "seed"}
    assert set(Experiment.model_fields) == same | another


YAHOO = YahooSource()
THE_SAME_PRICES: Mapping[str, tuple[SourceSpec, SourceSpec]] = {
    "as stored": (YAHOO, StoredSource()),
    "as known": (YAHOO, StoredSource(as_known=datetime(2024, 1, 1, tzinfo=UTC))),
    "from an earlier day": (YAHOO, YahooSource(start=date(1990, 1, 1))),
    "a file that was moved": (FilesSource(path=Path("a.csv")), FilesSource(path=Path("b.csv"))),
    "more sessions": (SyntheticSource(sessions=900), SyntheticSource(sessions=901, end=date(2025, 1, 2))),
}
OTHER_PRICES: Mapping[str, tuple[SourceSpec, SourceSpec]] = {
    "another kind": (YAHOO, SampleSource()),
    "another collection": (YAHOO, StoredSource(collection="mine")),
    "another seed": (SyntheticSource(), SyntheticSource(seed=1)),
    "another process": (SyntheticSource(), SyntheticSource(process="random_walk")),
    "more noise": (SyntheticSource(), SyntheticSource(noise=0.02)),
}


@pytest.mark.parametrize(("first", "second"), THE_SAME_PRICES.values(), ids=THE_SAME_PRICES)
def test_the_same_prices_by_another_way_are_the_same(first: SourceSpec, second: SourceSpec) -> None:
    assert prices_digest(first, "XNYS") == prices_digest(second, "XNYS")


@pytest.mark.parametrize(("first", "second"), OTHER_PRICES.values(), ids=OTHER_PRICES)
def test_other_prices_are_others(first: SourceSpec, second: SourceSpec) -> None:
    assert prices_digest(first, "XNYS") != prices_digest(second, "XNYS")


def test_prices_differ_by_calendar() -> None:
    assert prices_digest(YAHOO, "XNYS") != prices_digest(YAHOO, "XBOM")


def test_leaving_out_or_adding_a_ticker_does_not_reset_the_count(empty: Store) -> None:
    lists = (("A", "B"), ("B",), ("C", "B"), ("C", "D"), ("E",))
    found = [count(empty, attempt(size, tickers=tickers)).tested for size, tickers in enumerate(lists, start=4)]
    assert found == [1, 2, 3, 2, 1]
