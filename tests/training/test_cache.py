"""Cached fits: whole or absent, read without executing anything, and repeated where they are damaged."""

import hashlib
import importlib.metadata
import json
import os
import resource
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.dataset.frames import Frames, save_frames
from pipeline.errors import FitError, UsageError
from pipeline.forecasters.forecaster import Fitted
from pipeline.training.cache import DESCRIPTION, LARGEST_BYTES, WEIGHTS, FitCache, read_fitted, write_fitted
from pipeline.training.fits import fit
from pipeline.training.jobs import FORMAT_VERSION, FitJob
from pipeline.training.schedule import fit_all
from tests.panels import TINY_NETWORK, frames_from, jobs_for, random_market


@pytest.fixture(scope="module")
def frames() -> Frames:
    return frames_from(random_market(500, 3))


@pytest.fixture(scope="module")
def job(frames: Frames) -> FitJob:
    return jobs_for(frames)[0][0]


@pytest.fixture(scope="module")
def fitted(frames: Frames, job: FitJob) -> Fitted:
    return fit(job, frames)


def equal(a: Fitted, b: Fitted) -> bool:
    names = [name for name in Fitted.__dataclass_fields__ if name not in ("arrays", "seconds")]
    same = all(getattr(a, name) == getattr(b, name) for name in names) and a.arrays.keys() == b.arrays.keys()
    return same and all(np.array_equal(a.arrays[name], b.arrays[name]) for name in a.arrays)


def test_what_is_read_is_what_was_written(fitted: Fitted, job: FitJob, tmp_path: Path) -> None:
    cache = FitCache(tmp_path / "a" / "b")
    assert cache.get(job) is None
    cache.put(job, fitted)
    found = cache.get(job)
    assert found is not None
    assert equal(found, fitted)
    assert found.seconds == fitted.seconds
    assert sorted(path.name for path in cache.folder.rglob("*") if path.is_file()) == [DESCRIPTION, WEIGHTS]
    described = json.loads((cache.folder / job.key / DESCRIPTION).read_text())
    made_with = described["made_with"]
    warm_up, versions = made_with["warm_up_sessions"], made_with["versions"]
    assert described["job"] == json.loads(json.dumps(job.description()))
    assert warm_up.keys() == set(job.features)
    assert warm_up["volatility_20"] == 20
    assert versions["torch"] == importlib.metadata.version("torch")


def test_a_second_run_trains_nothing(frames: Frames, tmp_path: Path) -> None:
    jobs, _ = jobs_for(frames, kinds=("network", "climatology", "drift", "ewma", "last_close"))
    save_frames(frames, tmp_path / "frames")
    cache = FitCache(tmp_path / "kept")
    first = list(fit_all(jobs, tmp_path / "frames", cache, 1))
    times = {path: path.stat().st_mtime_ns for path in cache.folder.rglob("*.*")}
    folders = [cache.folder / job.key for job in jobs]
    for folder in folders:
        os.utime(folder, (0, 0))
    second = list(fit_all(jobs, tmp_path / "no such frames", cache, 1))
    assert [result.cached for result in first] == [False] * len(jobs)
    assert [result.cached for result in second] == [True] * len(jobs)
    assert {result.job.key for result in second} == {job.key for job in jobs}
    by_key = {result.job.key: result.fitted for result in first}
    assert all(equal(by_key[result.job.key], result.fitted) for result in second)
    assert {path: path.stat().st_mtime_ns for path in cache.folder.rglob("*.*")} == times
    assert min(folder.stat().st_mtime for folder in folders) > 1e9, "a fit has the time of its last use"


def test_what_was_finished_is_cached_when_the_caller_stops(frames: Frames, tmp_path: Path) -> None:
    jobs, _ = jobs_for(frames, kinds=("climatology", "drift", "ewma"))
    save_frames(frames, tmp_path / "frames")
    cache = FitCache(tmp_path / "kept")
    results = fit_all(jobs, tmp_path / "frames", cache, 1)
    done = next(results).job
    assert isinstance(results, Generator)
    results.close()
    assert [job.key for job in jobs if cache.get(job) is not None] == [done.key]
    again = list(fit_all(jobs, tmp_path / "frames", cache, 1))
    assert sum(result.cached for result in again) == 1


def _truncate(path: Path, share: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])


def _flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 0x10
    path.write_bytes(content)


DAMAGE = {
    "weights truncated": lambda folder: _truncate(folder / WEIGHTS, 0.9),
    "weights empty": lambda folder: _truncate(folder / WEIGHTS, 0),
    "one bit of the weights": lambda folder: _flip(folder / WEIGHTS, -5),
    "weights gone": lambda folder: (folder / WEIGHTS).unlink(),
    "description truncated": lambda folder: _truncate(folder / DESCRIPTION, 0.5),
    "description empty": lambda folder: _truncate(folder / DESCRIPTION, 0),
    "description gone": lambda folder: (folder / DESCRIPTION).unlink(),
    "description is null": lambda folder: (folder / DESCRIPTION).write_text("null"),
    "description is a list": lambda folder: (folder / DESCRIPTION).write_text("[1, 2]"),
    "description not unicode": lambda folder: (folder / DESCRIPTION).write_bytes(b"\xff\xfe{}"),
    "another format": lambda folder: (folder / DESCRIPTION).write_text(
        (folder / DESCRIPTION).read_text().replace(f'"format": {FORMAT_VERSION}', '"format": 2')
    ),
    "unknown forecaster": lambda folder: (folder / DESCRIPTION).write_text(
        (folder / DESCRIPTION).read_text().replace('"cell": "lstm"', '"cell": "xlstm"')
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_fit_is_repeated(damage: str, frames: Frames, job: FitJob, fitted: Fitted, tmp_path: Path) -> None:
    cache = FitCache(tmp_path / "kept")
    cache.put(job, fitted)
    DAMAGE[damage](cache.folder / job.key)
    with pytest.raises(FitError, match="cannot read the fit"):
        read_fitted(cache.folder / job.key)
    save_frames(frames, tmp_path / "frames")
    (result,) = fit_all([job], tmp_path / "frames", cache, 1)
    assert not result.cached
    assert equal(result.fitted, fitted)
    assert equal(cache.get(job), fitted)


@pytest.mark.parametrize("name", [WEIGHTS, DESCRIPTION])
def test_a_file_that_is_too_large_is_not_read(name: str, job: FitJob, fitted: Fitted, tmp_path: Path) -> None:
    cache = FitCache(tmp_path)
    cache.put(job, fitted)
    path = cache.folder / job.key / name
    os.truncate(path, LARGEST_BYTES[name] + 1)
    with pytest.raises(FitError, match=rf"{name} has {LARGEST_BYTES[name] + 1} bytes, expected at most"):
        read_fitted(cache.folder / job.key)
    assert cache.get(job) is None
    assert not path.exists()


def _resealed(folder: Path, **values: object) -> None:
    """Change the description and seal it anew, as a writer of another version would have done."""
    described = json.loads((folder / DESCRIPTION).read_text())
    described.pop("description_sha256")
    described |= values
    seal = hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()
    (folder / DESCRIPTION).write_text(json.dumps({**described, "description_sha256": seal}))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"format": 0}, "another format"),
        ({"mood": "good"}, "mood"),
        ({"forecaster": {"kind": "network", "cell": "xlstm"}}, "cell"),
        ({"forecaster": {"kind": "network", "depth": 3}}, "depth"),
    ],
)
def test_what_is_sealed_but_not_known_is_refused(
    values: dict, message: str, job: FitJob, fitted: Fitted, tmp_path: Path
) -> None:
    write_fitted(tmp_path / "fit", fitted, job)
    _resealed(tmp_path / "fit")
    assert equal(read_fitted(tmp_path / "fit"), fitted)
    _resealed(tmp_path / "fit", **values)
    with pytest.raises(FitError, match=message):
        read_fitted(tmp_path / "fit")


def test_the_fit_of_another_job_is_not_found(job: FitJob, fitted: Fitted, tmp_path: Path) -> None:
    cache = FitCache(tmp_path)
    other = replace(job, seed=job.seed + 1)
    write_fitted(tmp_path / other.key, fitted, job)
    assert cache.get(other) is None
    cache.put(job, fitted)
    assert cache.get(job) is not None


def test_nested_beyond_measure_is_refused(job: FitJob, fitted: Fitted, tmp_path: Path) -> None:
    write_fitted(tmp_path / "fit", fitted, job)
    (tmp_path / "fit" / DESCRIPTION).write_text("[" * 100_000)
    with pytest.raises(FitError, match="cannot read the fit"):
        read_fitted(tmp_path / "fit")


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=5,
)
FIELDS = ["job", "format", "weights_sha256", "forecaster", "features", "tickers", "horizons", "checks", "seconds", "x"]


@settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(value=JSON, field=st.one_of(st.none(), st.sampled_from(FIELDS)))
def test_whatever_stands_in_the_description_nothing_but_a_fit_error_comes_out(
    value: object, field: str | None, fitted: Fitted, job: FitJob, tmp_path: Path
) -> None:
    folder = tmp_path / "fit"
    if not folder.exists():
        write_fitted(folder, fitted, job)
        (tmp_path / "sound.json").write_text((folder / DESCRIPTION).read_text())
    sound = json.loads((tmp_path / "sound.json").read_text())
    (folder / DESCRIPTION).write_text(json.dumps({**sound, field: value} if field else value))
    with suppress(FitError):
        assert isinstance(read_fitted(folder), Fitted)


def test_too_large_a_file_is_not_read(fitted: Fitted, job: FitJob, tmp_path: Path) -> None:
    write_fitted(tmp_path / "fit", fitted, job)
    with (tmp_path / "fit" / WEIGHTS).open("wb") as file:
        file.truncate(2**40)  # sparse: takes no space
    with pytest.raises(FitError, match="expected at most"):
        read_fitted(tmp_path / "fit")


def test_an_unwritable_folder_is_a_usage_error(frames: Frames, job: FitJob, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a file, not a folder")
    save_frames(frames, tmp_path / "frames")
    with pytest.raises(UsageError, match="cannot write"):
        list(fit_all([job], tmp_path / "frames", FitCache(tmp_path / "file" / "kept"), 1))
    assert (tmp_path / "file").read_text() == "a file, not a folder"


@contextmanager
def files_no_larger_than(size: int) -> Iterator[None]:
    """The system refuses to write a byte beyond: what a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_write_that_fails_half_way_leaves_nothing_behind(fitted: Fitted, job: FitJob, tmp_path: Path) -> None:
    cache = FitCache(tmp_path / "kept")
    with files_no_larger_than(1000), pytest.raises(UsageError, match="cannot write the fit"):
        cache.put(job, fitted)
    assert cache.get(job) is None
    assert list(cache.folder.iterdir()) == []
    cache.put(job, fitted)
    assert equal(cache.get(job), fitted)


def test_the_fit_of_another_process_stays(fitted: Fitted, job: FitJob, tmp_path: Path) -> None:
    cache = FitCache(tmp_path)
    cache.put(job, fitted)
    first = (tmp_path / job.key / DESCRIPTION).stat().st_ino
    cache.put(job, fitted)
    assert (tmp_path / job.key / DESCRIPTION).stat().st_ino == first
    assert [path.name for path in tmp_path.iterdir()] == [job.key]


def test_the_specification_is_read_with_the_weights(fitted: Fitted, job: FitJob, tmp_path: Path) -> None:
    write_fitted(tmp_path / "fit", fitted, job)
    assert read_fitted(tmp_path / "fit").forecaster == TINY_NETWORK


@pytest.mark.parametrize(
    ("field", "value"),
    [("horizons", 1), ("lookback_sessions", "x"), ("tickers", ["Z"]), ("features", None), ("best_step", -1)],
)
def test_a_changed_description_is_not_believed(
    field: str, value: object, fitted: Fitted, job: FitJob, tmp_path: Path
) -> None:
    cache = FitCache(tmp_path)
    cache.put(job, fitted)
    path = tmp_path / job.key / DESCRIPTION
    values = json.loads(path.read_text())
    path.write_text(json.dumps({**values, field: values[field][::-1] if value is None else value}))
    with pytest.raises(FitError, match="not the one that was written"):
        read_fitted(tmp_path / job.key)
    assert cache.get(job) is None
