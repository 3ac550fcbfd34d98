"""The pretrained benchmark with a made pipeline: what it is given, what is taken from it, and when it is silent."""

from dataclasses import dataclass, field
from datetime import date
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.dataset.frames import Frames
from pipeline.errors import FitError, UsageError
from pipeline.forecasters import pretrained
from pipeline.forecasters.forecaster import LEVELS, FitData
from pipeline.forecasters.har import HarSpec
from pipeline.forecasters.pretrained import (
    ORIGINS_AT_ONCE,
    PretrainedSpec,
    open_pipeline,
    pretrained_quantiles,
    weights_digest,
    why_not_scored,
)
from pipeline.stages import folds_of, jobs_of, without_unscorable
from pipeline.training.fits import fit
from tests.panels import TINY, changed, frames_from, jobs_for, random_market

SPEC = PretrainedSpec(weights=Path("nowhere"), trained_until=date(2023, 9, 29), context_sessions=50)


@dataclass
class MadePipeline:
    """Says that h sessions ahead the series stands h + level above its last value; remembers what it was given."""

    as_list: bool = False  # the latest generation answers with a tensor per series
    given: list[torch.Tensor] = field(default_factory=list)
    batches: list[int] = field(default_factory=list)

    def predict_quantiles(
        self, inputs: list[torch.Tensor], prediction_length: int, quantile_levels: list[float]
    ) -> tuple[object, object]:
        self.given += inputs
        self.batches.append(len(inputs))
        last = torch.stack([series[-1] for series in inputs])  # [series]
        ahead = torch.arange(1, prediction_length + 1)[:, None] + torch.tensor(quantile_levels)  # [horizon, level]
        quantiles = last[:, None, None] + ahead
        return ([quantile[None] for quantile in quantiles], None) if self.as_list else (quantiles, None)


@pytest.fixture(scope="module")
def frames() -> Frames:
    return frames_from(random_market(400, 3))


@pytest.mark.parametrize("as_list", [False, True])
def test_it_reads_summed_returns_and_forecasts_after_its_cut_off_alone(as_list: bool, frames: Frames) -> None:
    pipeline, origins = MadePipeline(as_list), slice(300, 400)
    found = pretrained_quantiles(SPEC, frames, origins, pipeline)
    later = frames.sessions[origins] > np.datetime64(SPEC.trained_until)
    assert 0 < later.sum() < len(later)
    spoken = frames.usable[:, origins] & later
    assert found.dtype == np.float32
    np.testing.assert_array_equal(np.isfinite(found).all(axis=(2, 3)), spoken)
    expected = np.add.outer([1.0, 2.0], LEVELS)
    np.testing.assert_allclose(found[spoken], np.broadcast_to(expected, (spoken.sum(), 2, 7)), atol=1e-5)
    assert len(pipeline.given) == spoken.sum()
    for place in (0, -1):
        ticker, origin = np.argwhere(spoken)[place]
        log_return = frames.log_return[ticker, : origins.start + origin + 1]
        log_return = log_return[np.isfinite(log_return)][-49:]
        np.testing.assert_allclose(np.diff(pipeline.given[place].numpy()), log_return, atol=1e-6)
    assert {len(series) for series in pipeline.given} == {50}


def test_the_last_day_it_may_have_seen_is_not_forecast_from(frames: Frames) -> None:
    for day, silent in ((frames.sessions[350], True), (frames.sessions[349], False)):
        spec = PretrainedSpec(weights=Path("x"), trained_until=day.item())
        assert np.isnan(pretrained_quantiles(spec, frames, slice(350, 351), MadePipeline())).all() == silent


def test_many_origins_are_forecast_in_batches(frames: Frames) -> None:
    pipeline = MadePipeline()
    spec = PretrainedSpec(weights=Path("x"), trained_until=date(2000, 1, 1))
    found = pretrained_quantiles(spec, frames, slice(100, 400), pipeline)
    n_usable = int(frames.usable[:, 100:400].sum())
    assert n_usable > 2 * ORIGINS_AT_ONCE
    assert sum(pipeline.batches) == n_usable
    assert max(pipeline.batches) == ORIGINS_AT_ONCE
    np.testing.assert_array_equal(np.isfinite(found).all(axis=(2, 3)), frames.usable[:, 100:400])


@pytest.mark.parametrize("horizons", [1, 2])
def test_a_cut_off_after_the_last_test_origin_is_reported_with_both_dates(horizons: int) -> None:
    experiment = changed(TINY, horizons=horizons)
    frames = frames_from(random_market(700, 3), experiment)
    _, folds = jobs_for(frames, experiment)
    last = frames.sessions[-1 - horizons]  # the last origin whose outcome at the last horizon is known
    message = why_not_scored(PretrainedSpec(weights=Path("x"), trained_until=last.item()), frames, folds)
    assert f"its training data may reach to {last}, and the last test origin" in message
    assert f"{horizons} sessions ahead is {last}; expected test origins after the cut-off. Bring newer bars" in message
    before = frames.sessions[-2 - horizons]
    assert why_not_scored(PretrainedSpec(weights=Path("x"), trained_until=before.item()), frames, folds) == ""
    assert why_not_scored(SPEC, frames, folds[:1]) != "", "the first fold tests until its refit alone"


def test_a_benchmark_that_cannot_be_scored_is_left_out_and_the_others_stay(frames: Frames, tmp_path: Path) -> None:
    late = SPEC.model_copy(update={"weights": tmp_path / "none", "trained_until": date(2999, 1, 1)})
    experiment = changed(TINY, benchmarks=(HarSpec(), late))
    folds = folds_of(frames, experiment)
    scorable, message = without_unscorable(experiment, frames, folds)
    assert scorable == changed(TINY, benchmarks=(HarSpec(),))
    assert len(message) == 1
    assert "may reach to 2999-01-01" in message[0]
    assert {job.forecaster.kind for job in jobs_of(frames, folds, scorable, "cpu")} >= {"network", "har"}
    first = frames.sessions[folds[0].test.start]
    fine = changed(TINY, benchmarks=(HarSpec(), silent_until(first - 1)))
    assert without_unscorable(fine, frames, folds) == (fine, ())


def silent_until(day: np.datetime64) -> PretrainedSpec:
    return SPEC.model_copy(update={"trained_until": day.item()})


def weights_in(folder: Path) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


def test_other_weights_than_those_of_the_fit_are_refused(tmp_path: Path) -> None:
    spec = PretrainedSpec(weights=weights_in(tmp_path / "weights"), trained_until=date(2020, 1, 1))
    arrays = {"weights_sha256": weights_digest(spec.weights)}
    (spec.weights / "model.safetensors").write_bytes(b"weighty")
    with pytest.raises(FitError, match="not those of the fit"):
        open_pipeline(spec, arrays)


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors"])
def test_missing_weights_are_named(missing: str, tmp_path: Path) -> None:
    folder = weights_in(tmp_path / "weights")
    (folder / missing).unlink()
    (folder / "pytorch_model.bin").write_bytes(b"may execute code")  # no substitute
    with pytest.raises(UsageError, match=f"{missing}.*expected a folder of pretrained weights"):
        weights_digest(folder)


@pytest.mark.skipif(find_spec("chronos") is not None, reason="the package chronos-forecasting is installed here")
def test_without_the_package_the_fit_says_what_to_install(tmp_path: Path) -> None:
    spec = PretrainedSpec(weights=weights_in(tmp_path / "weights"), trained_until=date(2020, 1, 1))
    experiment = changed(TINY, benchmarks=(spec,))
    frames = frames_from(random_market(400, 3), experiment)
    (job,) = jobs_for(frames, experiment, ("pretrained",), slice(1))[0]
    data = FitData(frames, job.fold, job.seed, job.training)
    for attempt in (lambda: fit(job, frames), lambda: pretrained.fit(spec, data)):
        with pytest.raises(UsageError, match=r"chronos-forecasting.*tapecast\[pretrained\].*leave the benchmark out"):
            attempt()
