"""Boosted trees: what LightGBM learns from our rows, how well, and that a damaged model never reaches its parser."""

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import lightgbm
import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingRegressor

from pipeline.dataset.folds import Range
from pipeline.dataset.frames import Frames, save_frames
from pipeline.dataset.labels import label_mask, scaled_target
from pipeline.errors import FitError, UsageError
from pipeline.forecasters import boosting
from pipeline.forecasters.boosting import BoostingSpec
from pipeline.forecasters.forecaster import LEVELS, Fitted
from pipeline.training.fits import fit, quantiles
from pipeline.training.jobs import FitJob
from tests.panels import TINY, changed, fit_jobs, frames_from, jobs_for, random_market

SPEC = BoostingSpec(leaves=6, min_leaf_rows=15, max_rounds=40)
EXPERIMENT = changed(TINY, benchmarks=(SPEC,))
ORIGINS = slice(400, 440)


@pytest.fixture(scope="module")
def frames() -> Frames:
    """Made returns that a feature scales; horizon 2 is four times wilder, so that trees have to tell them apart."""
    frames = frames_from(random_market(520, 4), EXPERIMENT)
    signal = frames.features[..., frames.feature_names.index("volume_surprise"), None]
    wider = np.exp(np.clip(np.nan_to_num(signal), -2, 2)) * np.array([1, 4])  # [ticker, session, horizon]
    return replace(frames, future_return=(frames.future_return * wider).astype(np.float32))


@pytest.fixture(scope="module")
def job(frames: Frames) -> FitJob:
    (job,), _ = jobs_for(frames, EXPERIMENT, ["boosting"], slice(1))
    return job


@pytest.fixture(scope="module")
def fitted(frames: Frames, job: FitJob) -> Fitted:
    return fit(job, frames)


def bits(arrays: Mapping[str, np.ndarray]) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in arrays.items()}


def rows_of(frames: Frames, job: FitJob, part: Range) -> tuple[np.ndarray, np.ndarray]:
    """Features with the horizon as the last, and scaled targets, by plain loops."""
    seen = frames.until(part.stop).with_features(job.features)
    target, rows = scaled_target(seen), np.argwhere(label_mask(seen, part))
    x = np.array([[*seen.features[i, t], h + 1] for i, t, h in rows], dtype=np.float32)
    return x, np.array([target[i, t, h] for i, t, h in rows])


def pinball(level: float, outcome: np.ndarray, found: np.ndarray) -> float:
    return float(np.maximum(level * (outcome - found), (level - 1) * (outcome - found)).mean())


def trees_without_stopping(level: float, x: np.ndarray, y: np.ndarray) -> lightgbm.Booster:
    """LightGBM's trees, all rounds: no validation range is looked at."""
    settings = {
        "objective": "quantile", "alpha": level, "learning_rate": SPEC.learning_rate, "num_leaves": SPEC.leaves,
        "min_data_in_leaf": SPEC.min_leaf_rows, "max_bin": 63, "boost_from_average": False, "verbosity": -1,
        "num_threads": 1, "force_row_wise": True, "deterministic": True, "use_quantized_grad": True,
        "stochastic_rounding": False,
    }  # fmt: skip
    start = np.full(len(y), np.float32(np.quantile(y, level)), dtype=np.float64)
    return lightgbm.train(settings, lightgbm.Dataset(x, y, init_score=start, params=settings), SPEC.max_rounds)


def best_rounds(level: float, staged: list[np.ndarray], y: np.ndarray) -> int:
    """The rounds with the smallest loss, looked for until ten in a row were no better."""
    losses = [pinball(level, y, values) for values in staged]
    best = 1
    for rounds in range(1, len(losses)):
        if losses[rounds] < losses[best]:
            best = rounds
        if rounds - best >= boosting.PATIENCE_ROUNDS:
            break
    return best if losses[best] < losses[0] else 0


def test_the_validation_range_chooses_how_many_trees_are_summed(frames: Frames, job: FitJob, fitted: Fitted) -> None:
    """Found here by trying each round."""
    boosting_frames = frames.with_features(job.features)
    x, y = rows_of(frames, job, job.fold.train)
    checked, outcome = rows_of(frames, job, job.fold.validation)
    expected, chosen = np.empty((len(frames.tickers), 40, 2, len(LEVELS))), []
    for k, level in enumerate(LEVELS):
        trees, constant = trees_without_stopping(level, x, y), np.float32(np.quantile(y, level))
        staged = [constant + (trees.predict(checked, num_iteration=r) if r else 0 * outcome) for r in range(41)]
        chosen.append(best_rounds(level, staged, outcome))
        for h in (1, 2):
            rows = boosting_frames.features[:, ORIGINS].reshape(-1, len(job.features))
            read = np.column_stack([rows, np.full(len(rows), h, dtype=np.float32)])
            added = trees.predict(read, num_iteration=chosen[-1]) if chosen[-1] else np.zeros(len(rows))
            expected[:, :, h - 1, k] = (constant + added).reshape(-1, 40)
    assert min(chosen) < 40
    assert max(chosen) > 5  # something was learned, and not everything taken
    expected = np.sort(expected, axis=-1) * (frames.volatility[:, ORIGINS, None] * np.sqrt([1.0, 2.0]))[..., None]
    usable = frames.usable[:, ORIGINS]
    np.testing.assert_allclose(quantiles(fitted, frames, ORIGINS)[usable], expected[usable], rtol=1e-5, atol=1e-7)
    assert [len(fitted.arrays[boosting._name(k)]) > 0 for k in range(len(LEVELS))] == [r > 0 for r in chosen]


def test_no_level_of_pure_noise_that_trees_do_not_help_has_any(frames: Frames, job: FitJob) -> None:
    """Its forecast is the constant: the quantile of the training targets."""
    draws = np.random.default_rng(3)
    noise = draws.normal(0, 0.02, frames.future_return.shape).astype(np.float32) * frames.volatility[..., None]
    frames = replace(frames, future_return=noise)
    fitted = fit(job, frames)
    bare = [k for k in range(len(LEVELS)) if not len(fitted.arrays[boosting._name(k)])]
    assert bare
    _, y = rows_of(frames, job, job.fold.train)
    np.testing.assert_allclose(fitted.arrays["constant"], np.quantile(y, LEVELS), rtol=1e-5)
    assert np.isfinite(quantiles(fitted, frames, ORIGINS)[frames.usable[:, ORIGINS]]).all()


def test_its_loss_is_that_of_scikit_learn_s_boosting() -> None:
    """Mean over the levels, on rows after the training and validation ranges."""
    experiment = changed(EXPERIMENT, benchmarks=(BoostingSpec(leaves=8, min_leaf_rows=100, max_rounds=60),))
    frames = frames_from(random_market(1500, 8), experiment)
    signal = frames.features[..., frames.feature_names.index("volume_surprise"), None]
    wider = np.exp(np.clip(np.nan_to_num(signal), -2, 2)) * np.array([1, 4])
    frames = replace(frames, future_return=(frames.future_return * wider).astype(np.float32))
    (job,), _ = jobs_for(frames, experiment, ["boosting"], slice(-1, None))
    spec, known = job.forecaster, label_mask(frames, job.fold.test)
    x, y = rows_of(frames, job, job.fold.train)
    checked, outcome = rows_of(frames, job, job.fold.validation)
    later, realised = rows_of(frames, job, job.fold.test)
    found = quantiles(fit(job, frames), frames, slice(0, job.fold.test.stop))[known[:, : job.fold.test.stop]]
    scale = (frames.volatility[..., None] * np.sqrt([1.0, 2.0]))[known]
    losses: dict[str, list[float]] = {"ours": [], "scikit-learn": [], "constant": []}
    for k, level in enumerate(LEVELS):
        model = HistGradientBoostingRegressor(
            loss="quantile", quantile=level, learning_rate=spec.learning_rate, max_iter=spec.max_rounds,
            max_leaf_nodes=spec.leaves, min_samples_leaf=spec.min_leaf_rows, early_stopping=True, scoring="loss",
        ).fit(x, y, X_val=checked, y_val=outcome)  # fmt: skip
        losses["ours"].append(pinball(level, realised, found[:, k] / scale))
        losses["scikit-learn"].append(pinball(level, realised, model.predict(later)))
        losses["constant"].append(pinball(level, realised, np.full(len(realised), np.quantile(y, level))))
    mean = {name: float(np.mean(values)) for name, values in losses.items()}
    assert mean["ours"] < 1.005 * mean["scikit-learn"]
    assert mean["ours"] < 0.97 * mean["constant"]


def test_a_worker_process_fits_the_same_bits(frames: Frames, job: FitJob, fitted: Fitted, tmp_path: Path) -> None:
    jobs = [job, replace(job, seed=job.seed + 1)]
    by_seed = {result.job.seed: result.fitted for result in fit_jobs(jobs, frames, tmp_path, workers=2)}
    same, other = by_seed[job.seed], by_seed[job.seed + 1]
    assert same is not None
    assert other is not None
    assert bits(same.arrays) == bits(fitted.arrays) != bits(other.arrays)


def test_a_forecast_does_not_depend_on_the_origins_that_are_forecast_with_it(frames: Frames, fitted: Fitted) -> None:
    whole = quantiles(fitted, frames, slice(300, 460))
    for start, stop in ((300, 301), (300, 377), (377, 460), (459, 460)):
        assert quantiles(fitted, frames, slice(start, stop)).tobytes() == whole[:, start - 300 : stop - 300].tobytes()


@pytest.mark.parametrize("power", [-3, 7])
def test_prices_in_another_unit_of_a_power_of_two_change_no_bit(power: int) -> None:
    rows = random_market(520, 3)
    scaled = {
        ticker: own.assign(
            **{name: own[name] * 2.0**power for name in ("open", "high", "low", "close", "adj_close", "dividend")}
        )
        for ticker, own in rows.items()
    }
    found = []
    for market in (rows, scaled):
        frames = frames_from(market, EXPERIMENT)
        (job,), _ = jobs_for(frames, EXPERIMENT, ["boosting"], slice(1))
        fitted = fit(job, frames)
        found.append({**bits(fitted.arrays), "quantiles": quantiles(fitted, frames, ORIGINS).tobytes()})
    assert found[0] == found[1]


def damaged(fitted: Fitted, name: str, place: int) -> Fitted:
    array = fitted.arrays[name].copy()
    array.view(np.uint8)[place] ^= 1
    return replace(fitted, arrays={**fitted.arrays, name: array})


def test_damaged_trees_are_refused_before_the_parser_reads_them(frames: Frames, fitted: Fitted) -> None:
    """LightGBM's parser ends the process on most of them."""
    draws = np.random.default_rng(0)
    for name, array in fitted.arrays.items():
        for place in draws.integers(0, array.nbytes, 5) if array.nbytes else ():
            with pytest.raises(FitError, match=r"do not have the stored digest.*run again"):
                quantiles(damaged(fitted, name, place), frames, ORIGINS)
    text = fitted.arrays["q90"]
    with pytest.raises(FitError, match="do not have the stored digest"):
        quantiles(replace(fitted, arrays={**fitted.arrays, "q90": text[: len(text) // 2]}), frames, ORIGINS)


def test_arrays_of_something_else_are_refused(frames: Frames, fitted: Fitted) -> None:
    for missing in fitted.arrays:
        arrays = {name: array for name, array in fitted.arrays.items() if name != missing}
        with pytest.raises(FitError, match=rf"cannot read the trees of boosting.*{missing}"):
            quantiles(replace(fitted, arrays=arrays), frames, ORIGINS)
    other = {**fitted.arrays, "q50": np.frombuffer(b"a model of another library", dtype=np.uint8)}
    other["sha256"] = boosting._digest(other)
    with pytest.raises(FitError, match=r"cannot read the trees of boosting: .*delete the fit and run again"):
        quantiles(replace(fitted, arrays=other), frames, ORIGINS)


def test_a_missing_openmp_runtime_is_named(frames: Frames, fitted: Fitted, monkeypatch: pytest.MonkeyPatch) -> None:
    def without_runtime(_name: str) -> None:
        raise OSError("libgomp.so.1: cannot open shared object file: No such file or directory")

    monkeypatch.setattr(boosting, "import_module", without_runtime)
    with pytest.raises(UsageError, match=r"boosting cannot load LightGBM: libgomp.so.1.*package libgomp1"):
        quantiles(fitted, frames, ORIGINS)


def test_nothing_is_printed(frames: Frames, job: FitJob, capfd: pytest.CaptureFixture[str]) -> None:
    spec = BoostingSpec(min_leaf_rows=10_000)  # no split is possible, about which LightGBM would warn
    quantiles(fit(replace(job, forecaster=spec), frames), frames, ORIGINS)
    quantiles(fit(job, frames), frames, ORIGINS)
    assert capfd.readouterr() == ("", "")


READ_TREES = """
import os, sys
from pathlib import Path
import sklearn.ensemble  # so that what LightGBM imports is not counted
import numpy as np
from pipeline.dataset.frames import open_frames
from pipeline.forecasters import boosting
from pipeline.forecasters.forecaster import Fitted

frames, arrays = open_frames(Path(sys.argv[1])), dict(np.load(sys.argv[2]))
fitted = Fitted(boosting.BoostingSpec(), frames.feature_names, frames.tickers, frames.horizons, 1, arrays)
before = len(os.listdir("/proc/self/task"))
boosting.quantiles(fitted.forecaster, fitted, frames, slice(0, len(frames.sessions)))
print(before, len(os.listdir("/proc/self/task")))
"""


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="threads are counted where Linux lists them")
def test_a_process_that_reads_trees_has_no_more_threads_afterwards(
    frames: Frames, job: FitJob, fitted: Fitted, tmp_path: Path
) -> None:
    """With threads of OpenMP it could not be forked safely any more."""
    save_frames(frames.with_features(job.features), tmp_path / "frames")
    np.savez(tmp_path / "trees.npz", **fitted.arrays)
    command = [sys.executable, "-c", READ_TREES, str(tmp_path / "frames"), str(tmp_path / "trees.npz")]
    environment = {**os.environ, "OMP_NUM_THREADS": "3"}
    found = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert found.returncode == 0, found.stderr
    before, after = found.stdout.split()
    assert before == after
