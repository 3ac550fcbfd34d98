"""The audit: an honest pipeline passes, and each planted leak is caught at its stage."""

from collections.abc import Iterable
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from pipeline.audit.auditing import audit
from pipeline.audit.handed import STAGES
from pipeline.audit.origins import chosen_origins
from pipeline.audit.specification import AuditSpec
from pipeline.audit.steps import Found, Setting, Steps, rows_found
from pipeline.audit.verdict import HANDED_ON, Verdict, refuse_leak, table
from pipeline.dataset.covariates.exogenous import Given
from pipeline.dataset.covariates.past import PastCovariate
from pipeline.errors import NothingUsableError, SanityError, UsageError
from pipeline.experiment import Experiment
from pipeline.market.bars import ReturnsFrom
from pipeline.market.door import Terms
from pipeline.market.held import HeldPrices
from pipeline.market.source import Source
from pipeline.stages import folds_of
from tests.audit.leaks import PLANTED, series_known_too_early
from tests.panels import NOW, TINY, changed, frames_from, random_market

H5: Experiment = changed(TINY, horizons=5)
SEVEN = AuditSpec(origins=7, others=2, training_steps=8)


@cache
def held(returns_from: ReturnsFrom = "actions", count: int = 700) -> HeldPrices:
    return HeldPrices(random_market(count, 4), "as_traded", returns_from == "actions", returns_from, "made up")


def setting_of(source: HeldPrices, experiment: Experiment = H5) -> Setting:
    terms = Terms(source.returns_from, source.has_actions, NOW, experiment.minimum_sessions)
    return Setting(experiment, source.tickers(), terms, "XNYS")


def verdict_on(steps: Steps | None = None, spec: AuditSpec = SEVEN, source: HeldPrices | None = None) -> Verdict:
    source = source or held()
    return audit(source, setting_of(source), spec, steps or Steps())


@cache
def honest() -> Verdict:
    return verdict_on()


def test_an_honest_pipeline_has_no_leak_and_every_stage_was_compared() -> None:
    assert honest().passed, honest().sentence
    assert set(honest().counts) == set(STAGES) == set(HANDED_ON)
    assert min(honest().counts.values()) > 0
    assert honest().sentence.startswith("No leak found: 7 origins x 2 tamperings, 11 stages and ")
    refuse_leak(honest())


@pytest.mark.parametrize("returns_from", ["adj_close", "close"])
def test_nor_where_returns_come_from_another_column(returns_from: ReturnsFrom) -> None:
    verdict = verdict_on(spec=AuditSpec(origins=3, training_steps=4), source=held(returns_from))
    assert verdict.passed, verdict.sentence


@pytest.mark.parametrize("leak", PLANTED)
def test_a_planted_leak_is_caught_and_located(leak: str) -> None:
    planted = PLANTED[leak]
    verdict = verdict_on(planted.steps)
    assert verdict.leak is not None, f"{leak} was not caught"
    assert verdict.leak.stage == planted.stage, verdict.sentence
    assert verdict.leak.what.startswith(planted.what), verdict.sentence
    assert verdict.sentence.startswith(f"Leak in stage `{planted.stage}`: `{planted.what}")
    rows = table(verdict).set_index("stage")["verdict"]
    assert rows[planted.stage] == "LEAK"
    before = list(STAGES)[: list(STAGES).index(planted.stage)]
    assert set(rows[before]) <= {"same"}
    with pytest.raises(SanityError, match=f"stage `{planted.stage}`"):
        refuse_leak(verdict)


def test_origins_are_the_borders_of_every_fold_the_h_before_its_test_and_others() -> None:
    experiment: Experiment = changed(H5, folds={"refit_months": 9, "validation_months": 3, "calibration_months": 3})
    frames = frames_from(held().frames, experiment)
    folds = folds_of(frames, experiment)
    chosen = chosen_origins(folds, frames.sessions, 5, AuditSpec(others=2))
    at = {int(np.searchsorted(frames.sessions, one.session)): one for one in chosen}
    assert list(at) == sorted(at)
    for fold in folds:
        wanted = [fold.train.stop - 1, fold.validation.stop - 1, *range(fold.test.start - 5, fold.test.start + 1)]
        assert set(wanted) <= set(at)
    holed = [place for place, one in at.items() if one.holed]
    assert len(holed) == 2
    assert all(any(fold.test.start < place < fold.test.stop for fold in folds) for place in holed)
    assert len(chosen) == len(folds) * 8 + 2
    few = chosen_origins(folds, frames.sessions, 5, AuditSpec(origins=5, others=2))
    assert len(few) == 5
    assert set(few) <= set(chosen)
    assert any("first test origin" in one.why for one in few)
    assert any("the session before" in one.why for one in few)
    assert all(any(fold.name in one.why for one in few) for fold in folds)


def test_the_last_session_is_no_origin_as_nothing_comes_after_it() -> None:
    frames = frames_from(held().frames, H5)
    folds = folds_of(frames, H5)
    first = folds[0].test.start
    chosen = chosen_origins(folds[:1], frames.sessions[: first + 1], 5, AuditSpec(others=0))
    assert frames.sessions[first] not in [one.session for one in chosen]
    with pytest.raises(UsageError, match="bring more bars"):
        chosen_origins(folds[:1], frames.sessions[:3], 5, AuditSpec(others=0))


def test_a_loader_that_does_not_read_what_it_is_given_is_refused() -> None:
    original = rows_found(held(), held().tickers())

    def from_elsewhere(source: Source, tickers: Iterable[str]) -> Found:
        return original

    with pytest.raises(UsageError, match="has to read the source that it is given"):
        verdict_on(Steps(load=from_elsewhere))


def test_no_usable_ticker_is_told_with_its_reasons() -> None:
    short = HeldPrices({t: rows[:30] for t, rows in held().frames.items()}, "as_traded", True, "actions", "")
    with pytest.raises(NothingUsableError, match="T0: 30 usable sessions"):
        verdict_on(source=short)


def test_the_audit_says_how_it_was_made_and_what_it_cannot_show() -> None:
    told = " ".join(honest().remarks)
    assert "8 steps long" in told
    assert "network, climatology, last_close, drift, ewma" in told
    assert "chosen on test ranges" in told
    quick = replace(honest(), counts={**honest().counts, "calibrate": 0})
    assert "Nothing was compared at calibrate." in quick.remarks
    assert table(quick).set_index("stage").loc["calibrate", "verdict"] == "not compared"


def test_series_of_files_are_tampered_with_as_well() -> None:
    series = {"name": "vix", "path": "vix.csv", "column": "close", "publication_lag_days": 0}
    experiment: Experiment = changed(H5, covariates=(series,))
    first = held().frames["T0"]["session"].iloc[0].to_datetime64().astype("datetime64[s]")
    known_from = first + np.arange(1200) * np.timedelta64(1, "D")
    values = np.random.default_rng(0).normal(15, 2, len(known_from))
    given = Given(past=(PastCovariate("vix", known_from, values, True, 9.0, "vix.csv"),))
    setting = replace(setting_of(held(), experiment), given=given)
    spec = AuditSpec(origins=3, training_steps=4)
    assert audit(held(), setting, spec).passed
    leak = audit(held(), setting, spec, Steps(features=series_known_too_early)).leak
    assert leak is not None
    assert (leak.stage, leak.what) == ("features", "feature vix")


@pytest.mark.slow
def test_the_linear_forecaster_and_the_split_calibration_have_no_leak() -> None:
    folds = {"refit_months": 9, "validation_months": 3, "calibration_months": 3}
    experiment: Experiment = changed(H5, folds=folds, calibration={"method": "split"})
    spec = AuditSpec(origins=2, every_forecaster=True, training_steps=4)
    verdict = audit(held(), setting_of(held(), experiment), spec)
    assert verdict.passed, verdict.sentence
    assert "linear" in verdict.forecasters
    assert verdict.counts["calibrate"] > 0
