"""The audit: the pipeline passes, and each planted leak is detected at its stage."""

from collections.abc import Iterable
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from pipeline.audit.auditing import audit_source
from pipeline.audit.origins import AuditSpec, audit_origins
from pipeline.audit.result import OUTPUT_DESCRIPTIONS, AuditResult, audit_table, refuse_leak
from pipeline.audit.stage_outputs import STAGES
from pipeline.audit.steps import RowsByTicker, RunInputs, Steps, load_rows
from pipeline.dataset.covariates.from_files import FileCovariates
from pipeline.dataset.covariates.past import PastCovariate
from pipeline.errors import NothingUsableError, SanityError, UsageError
from pipeline.experiment import Experiment
from pipeline.market.bars import ReturnsFrom
from pipeline.market.in_memory import InMemoryPrices
from pipeline.market.sources import Source
from pipeline.market.validation.validate import ValidationTerms
from pipeline.stages import folds_of
from tests.audit.leaks import PLANTED, series_known_too_early
from tests.panels import NOW, TINY, changed, frames_from, random_market

H5: Experiment = changed(TINY, horizons=5)
SEVEN = AuditSpec(origins=7, others=2, training_steps=8)


@cache
def prices(returns_from: ReturnsFrom = "actions", count: int = 700) -> InMemoryPrices:
    return InMemoryPrices(random_market(count, 4), "as_traded", returns_from == "actions", returns_from, "made up")


def inputs_of(source: InMemoryPrices, experiment: Experiment = H5) -> RunInputs:
    terms = ValidationTerms(source.returns_from, source.has_actions, NOW, experiment.minimum_sessions)
    return RunInputs(experiment, source.tickers(), terms, "XNYS")


def result_of(steps: Steps | None = None, spec: AuditSpec = SEVEN, source: InMemoryPrices | None = None) -> AuditResult:
    source = source or prices()
    return audit_source(source, inputs_of(source), spec, steps or Steps())


@cache
def clean_result() -> AuditResult:
    return result_of()


def test_the_pipeline_has_no_leak_and_every_stage_was_compared() -> None:
    assert clean_result().passed, clean_result().sentence
    assert set(clean_result().counts) == set(STAGES) == set(OUTPUT_DESCRIPTIONS)
    assert min(clean_result().counts.values()) > 0
    assert clean_result().sentence.startswith("No leak found: 7 origins x 2 tamperings, 12 stages and ")
    refuse_leak(clean_result())


@pytest.mark.parametrize("returns_from", ["adj_close", "close"])
def test_there_is_no_leak_where_returns_come_from_another_column(returns_from: ReturnsFrom) -> None:
    result = result_of(spec=AuditSpec(origins=3, training_steps=4), source=prices(returns_from))
    assert result.passed, result.sentence


@pytest.mark.parametrize("leak", PLANTED)
def test_a_planted_leak_is_detected_and_located(leak: str) -> None:
    planted = PLANTED[leak]
    result = result_of(planted.steps)
    assert result.leak is not None, f"{leak} was not detected"
    assert result.leak.stage == planted.stage, result.sentence
    assert result.leak.what.startswith(planted.what), result.sentence
    assert result.sentence.startswith(f"Leak in stage `{planted.stage}`: `{planted.what}")
    rows = audit_table(result).set_index("stage")["result"]
    assert rows[planted.stage] == "LEAK"
    before = list(STAGES)[: list(STAGES).index(planted.stage)]
    assert set(rows[before]) <= {"same"}
    with pytest.raises(SanityError, match=f"stage `{planted.stage}`"):
        refuse_leak(result)


def test_origins_are_the_borders_of_every_fold_the_h_before_its_test_and_others() -> None:
    experiment: Experiment = changed(H5, folds={"refit_months": 9, "validation_months": 3, "calibration_months": 3})
    frames = frames_from(prices().frames, experiment)
    folds = folds_of(frames, experiment)
    chosen = audit_origins(folds, frames.sessions, 5, AuditSpec(others=2))
    at = {int(np.searchsorted(frames.sessions, origin.session)): origin for origin in chosen}
    assert list(at) == sorted(at)
    for fold in folds:
        wanted = [fold.train.stop - 1, fold.validation.stop - 1, *range(fold.test.start - 5, fold.test.start + 1)]
        assert set(wanted) <= set(at)
    holed = [index for index, origin in at.items() if origin.holed]
    assert len(holed) == 2
    assert all(any(fold.test.start < index < fold.test.stop for fold in folds) for index in holed)
    assert len(chosen) == len(folds) * 8 + 2
    few = audit_origins(folds, frames.sessions, 5, AuditSpec(origins=5, others=2))
    assert len(few) == 5
    assert set(few) <= set(chosen)
    assert any("first test origin" in origin.why for origin in few)
    assert any("the session before" in origin.why for origin in few)
    assert all(any(fold.name in origin.why for origin in few) for fold in folds)


def test_the_last_session_is_no_origin_as_no_session_follows() -> None:
    frames = frames_from(prices().frames, H5)
    folds = folds_of(frames, H5)
    first = folds[0].test.start
    chosen = audit_origins(folds[:1], frames.sessions[: first + 1], 5, AuditSpec(others=0))
    assert frames.sessions[first] not in [origin.session for origin in chosen]
    with pytest.raises(UsageError, match="bring more bars"):
        audit_origins(folds[:1], frames.sessions[:3], 5, AuditSpec(others=0))


def test_a_load_step_that_ignores_its_source_is_refused() -> None:
    original = load_rows(prices(), prices().tickers())

    def from_elsewhere(source: Source, tickers: Iterable[str]) -> RowsByTicker:
        return original

    with pytest.raises(UsageError, match="has to read the source that it is given"):
        result_of(Steps(load=from_elsewhere))


def test_the_error_without_a_usable_ticker_lists_the_reasons() -> None:
    short = InMemoryPrices({t: rows[:30] for t, rows in prices().frames.items()}, "as_traded", True, "actions", "")
    with pytest.raises(NothingUsableError, match="T0: 30 usable sessions"):
        result_of(source=short)


def test_the_remarks_say_how_the_audit_was_made_and_what_it_cannot_show() -> None:
    remarks = " ".join(clean_result().remarks)
    assert "trained for 8 steps" in remarks
    assert "network, climatology, last_close, drift, ewma" in remarks
    assert "chosen on test ranges" in remarks
    uncalibrated = replace(clean_result(), counts={**clean_result().counts, "calibrate": 0})
    assert "Nothing was compared at calibrate." in uncalibrated.remarks
    assert audit_table(uncalibrated).set_index("stage").loc["calibrate", "result"] == "not compared"


def test_covariates_from_files_are_tampered_with_as_well() -> None:
    series = {"name": "vix", "path": "vix.csv", "column": "close", "publication_lag_days": 0}
    experiment: Experiment = changed(H5, covariates=(series,))
    first = prices().frames["T0"]["session"].iloc[0].to_datetime64().astype("datetime64[s]")
    known_from = first + np.arange(1200) * np.timedelta64(1, "D")
    values = np.random.default_rng(0).normal(15, 2, len(known_from))
    covariates = FileCovariates(past=(PastCovariate("vix", known_from, values, True, 9.0, "vix.csv"),))
    inputs = replace(inputs_of(prices(), experiment), file_covariates=covariates)
    spec = AuditSpec(origins=3, training_steps=4)
    assert audit_source(prices(), inputs, spec).passed
    leak = audit_source(prices(), inputs, spec, Steps(features=series_known_too_early)).leak
    assert leak is not None
    assert (leak.stage, leak.what) == ("features", "feature vix")


@pytest.mark.slow
def test_the_benchmarks_and_the_split_calibration_have_no_leak() -> None:
    folds = {"refit_months": 9, "validation_months": 3, "calibration_months": 3}
    experiment: Experiment = changed(H5, folds=folds, calibration={"method": "split"}, benchmarks=({"kind": "har"},))
    spec = AuditSpec(origins=2, every_forecaster=True, training_steps=4)
    result = audit_source(prices(), inputs_of(prices(), experiment), spec)
    assert result.passed, result.sentence
    assert {"linear", "har"} <= set(result.forecasters)
    assert result.counts["calibrate"] > 0
