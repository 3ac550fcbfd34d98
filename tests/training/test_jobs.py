"""Keys: they change with everything that changes the result, and with nothing else."""

from dataclasses import replace
from datetime import date

import numpy as np
import pytest

from pipeline.dataset.folds import FoldSpec, Range
from pipeline.dataset.frames import Frames
from pipeline.forecasters.climatology import ClimatologySpec
from pipeline.forecasters.ewma import EwmaSpec
from pipeline.forecasters.recurrent.specification import RecurrentSpec
from pipeline.forecasters.registry import forecaster_as_json, forecaster_from_json
from pipeline.forecasters.training_specification import TrainingSpec
from pipeline.stages import folds_of, jobs_of
from pipeline.training.jobs import FitJob, digest_of_rows
from tests.panels import TINY, TINY_TRAINING, Rows, changed, frames_from, jobs_for, random_market, random_rows

COUNT = 640


@pytest.fixture(scope="module")
def rows() -> Rows:
    return random_market(COUNT, 3)


@pytest.fixture(scope="module")
def frames(rows: Rows) -> Frames:
    return frames_from(rows)


@pytest.fixture(scope="module")
def job(frames: Frames) -> FitJob:
    return jobs_for(frames)[0][0]


def moved(part: Range) -> Range:
    return replace(part, until=part.until + np.timedelta64(1, "D"))


OTHERS = {
    "seed": lambda job: replace(job, seed=job.seed + 1),
    "hidden size": lambda job: replace(job, forecaster=RecurrentSpec(hidden_size=7)),
    "cell": lambda job: replace(job, forecaster=RecurrentSpec(hidden_size=6, cell="gru")),
    "kind": lambda job: replace(job, forecaster=ClimatologySpec()),
    "tickers": lambda job: replace(job, tickers=job.tickers[:-1]),
    "order of tickers": lambda job: replace(job, tickers=job.tickers[::-1]),
    "features": lambda job: replace(job, features=job.features[:-1]),
    "data": lambda job: replace(job, data_digest="0" * 32),
    "device": lambda job: replace(job, device="cuda"),
    "known-future covariates": lambda job: replace(job, known_future=("month_end",)),
    "where it begins": lambda job: replace(job, starts_from="0" * 32),
    "train": lambda job: replace(job, fold=replace(job.fold, train=moved(job.fold.train))),
    "validation": lambda job: replace(job, fold=replace(job.fold, validation=moved(job.fold.validation))),
    **{
        f"training.{name}": lambda job, name=name, value=value: replace(
            job, training=job.training.model_copy(update={name: value})
        )
        for name, value in {
            "epochs": 9,
            "min_steps": 7,
            "max_steps": 9,
            "learning_rate": 0.1,
            "weight_decay": 0.5,
            "batch_chunks": 5,
            "chunk_sessions": 61,
            "burn_in_sessions": 11,
            "gradient_clip": 0.1,
            "averaging": 0.5,
            "validation_checks": 3,
            "optimizer": "sgd",
            "schedule": "constant",
            "truncate_sessions": 7,
            "volatility_power": 0.5,
            "patience_checks": 9,
            "lookback_sessions": 99,
        }.items()
    },
}


NOT_ALWAYS = {"warm_start", "warm_share", "deterministic"}
"""Settings that change a result on some jobs alone."""


def test_every_field_of_the_training_is_tried() -> None:
    tried = {name.removeprefix("training.") for name in OTHERS if name.startswith("training.")}
    assert tried == set(TrainingSpec.model_fields) - NOT_ALWAYS


def trained(job: FitJob, **values: object) -> FitJob:
    return replace(job, training=job.training.model_copy(update=values))


def test_determinism_is_in_the_key_of_a_gpu_job_alone(job: FitJob) -> None:
    on_gpu = replace(job, device="cuda")
    assert job.device == "cpu"
    assert trained(job, deterministic=False).key == job.key
    assert trained(on_gpu, deterministic=False).key != on_gpu.key


def test_what_a_warm_start_says_is_in_the_key_of_a_warm_fit_alone(job: FitJob) -> None:
    assert trained(job, warm_share=0.25).key == job.key
    assert trained(job, warm_start=True, warm_share=0.25).key == job.key, "the first fold begins anew either way"
    warm = replace(trained(job, warm_start=True), starts_from="0" * 32)
    assert trained(warm, warm_share=0.25).key != warm.key != job.key


def test_a_description_is_read_by_people_as_it_was_before(job: FitJob) -> None:
    assert job.description()["training"] == job.training.model_dump(), "a plain job's key is the one that it always had"


@pytest.mark.parametrize("name", OTHERS)
def test_a_key_changes_with_what_changes_the_result(name: str, job: FitJob) -> None:
    other = OTHERS[name](job)
    assert other != job
    assert other.key != job.key


def test_a_key_does_not_change_with_what_does_not(job: FitJob) -> None:
    assert replace(job).key == job.key
    fold = job.fold
    later = replace(fold, name="other", calibration=moved(fold.calibration), test=moved(fold.test))
    assert replace(job, fold=later).key == job.key
    baseline = replace(job, forecaster=EwmaSpec())
    assert replace(baseline, training=TrainingSpec()).key == baseline.key
    assert replace(baseline, forecaster=EwmaSpec(decay=0.9)).key != baseline.key


def keys(frames: Frames, experiment: object = TINY) -> list[str]:
    return [job.key for job in jobs_of(frames, folds_of(frames, experiment), experiment, "cpu")]


def test_all_jobs_have_keys_of_their_own(frames: Frames) -> None:
    found = keys(frames, changed(TINY, seeds=3))
    folds = len(folds_of(frames, TINY))
    assert folds == 2
    assert len(set(found)) == len(found) == folds * (3 + 5)


def test_later_bars_change_no_key_and_earlier_ones_do(rows: Rows, frames: Frames) -> None:
    whole = keys(frames)
    last_fold = folds_of(frames, TINY)[-1]
    known = frames.sessions[last_fold.validation.stop]
    other = {t: random_rows(len(r), 50 + k) for k, (t, r) in enumerate(rows.items())}
    spoilt = {t: r.where(r["session"] < known, other[t].assign(session=r["session"])) for t, r in rows.items()}
    assert keys(frames_from(spoilt)) == whole
    cut = {t: r[r["session"].to_numpy() <= known] for t, r in rows.items()}
    assert keys(frames_from(cut)) == whole
    before = frames.sessions[last_fold.validation.stop - 1]
    touched = {t: r.assign(close=r["close"].where(r["session"] != before, r["low"])) for t, r in rows.items()}
    assert (touched["T0"]["close"] != rows["T0"]["close"]).sum() == 1
    per_fold = len(whole) // 2
    assert keys(frames_from(touched))[:per_fold] == whole[:per_fold]  # the first fold ends long before
    assert set(keys(frames_from(touched))[per_fold:]).isdisjoint(whole)


def test_another_set_of_tickers_makes_other_keys(rows: Rows, frames: Frames) -> None:
    fewer = frames_from({t: r for t, r in rows.items() if t != "T1"})
    assert set(keys(fewer)).isdisjoint(keys(frames))


def test_a_ticker_listed_after_a_fold_changes_none_of_its_keys(rows: Rows) -> None:
    """A stranger that has no bar before the validation ends is neither trained on nor in the digest."""
    whole = frames_from(rows)
    fold = folds_of(whole, TINY)[0]
    late = random_rows(COUNT - fold.test.start - 5, 77)
    with_late = frames_from({**rows, "LATE": late})
    count = len(keys(whole)) // 2
    assert keys(with_late)[:count] == keys(whole)[:count]


def test_the_experiment_reaches_the_key(frames: Frames) -> None:
    base = keys(frames)
    for experiment in (
        changed(TINY, seed=1),
        changed(TINY, network=RecurrentSpec(hidden_size=8)),
        changed(TINY, training=TINY_TRAINING.model_copy(update={"learning_rate": 0.01})),
        changed(TINY, features=("log_return", "log_range")),
        changed(TINY, folds=FoldSpec(train_end=date(2022, 6, 30), valid_end=date(2022, 12, 30))),
    ):
        assert keys(frames, experiment)[0] not in base


def test_the_digest_sees_every_row(frames: Frames) -> None:
    digest = digest_of_rows(frames)
    assert digest_of_rows(replace(frames)) == digest
    for name in ("features", "volatility", "log_return", "usable"):
        array = np.array(getattr(frames, name))
        array[1, 500] = array[1, 499] if name != "usable" else ~array[1, 500]
        assert digest_of_rows(replace(frames, **{name: array})) != digest
    assert digest_of_rows(replace(frames, future_return=frames.future_return[..., :1])) != digest


@pytest.mark.parametrize("forecaster", [RecurrentSpec(cell="gru", dropout=0.3), EwmaSpec(decay=0.9)])
def test_a_forecaster_survives_json(forecaster: RecurrentSpec | EwmaSpec) -> None:
    assert forecaster_from_json(forecaster_as_json(forecaster)) == forecaster
