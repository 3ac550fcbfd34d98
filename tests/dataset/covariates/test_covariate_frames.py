"""Covariates of an experiment in its frames and fit keys."""

import json
import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from flows.cli.experiment_file import read_experiment
from pipeline.dataset.covariates.from_files import read_file_covariates
from pipeline.dataset.covariates.specification import KnownFutureSeriesSpec, PastSeriesSpec
from pipeline.dataset.frames import Frames, open_frames, save_frames
from pipeline.errors import TapecastError, UsageError
from pipeline.experiment import Experiment
from pipeline.market.bars import Bars
from pipeline.market.calendars import next_sessions
from pipeline.stages import folds_of, frames_of, jobs_of
from pipeline.training.jobs import digest_of_rows
from pipeline.workflow.calendar_bars import CalendarBars, frames_on
from tests.dataset.calendar_bars import bars_on
from tests.panels import LAST_DAY, TINY, bars_of, changed, random_market, sessions_to

TOML = """
sectors = "{folder}/sectors.csv"
index = "T0"
calendar_covariates = ["day_of_week", "month_end", "days_to_next"]

[[covariates]]
name = "vix"
path = "{folder}/vix.csv"
column = "close"
publication_lag_days = 1

[[covariates]]
name = "fed"
path = "{folder}/fed.parquet"
column = "meets"
date_column = "day"
known_in_advance = true
"""


def write_files(folder: Path) -> Path:
    """Sectors, a weekdays' series and one of every session known in advance, and the experiment that names them."""
    sessions = sessions_to(LAST_DAY, 300)
    weekdays = np.arange(sessions[0] - 10, LAST_DAY + 1)
    weekdays = weekdays[np.is_busday(weekdays)]
    close = np.random.default_rng(4).normal(15, 2, len(weekdays)).round(2)
    days = np.append(sessions, next_sessions("XNYS", LAST_DAY, 5))
    (folder / "sectors.csv").write_text("ticker,sector\nT0,Tech\nT1,Tech\nT2,Banks\n")
    pd.DataFrame({"date": weekdays.astype(str), "close": close}).to_csv(folder / "vix.csv", index=False)
    pd.DataFrame({"day": days.astype("datetime64[s]"), "meets": np.arange(len(days)) % 2}).to_parquet(
        folder / "fed.parquet"
    )
    path = folder / "experiment.toml"
    path.write_text(TOML.format(folder=folder))
    return path


def experiment_in(folder: Path) -> Experiment:
    return changed(
        read_experiment(write_files(folder), {}),
        **{name: getattr(TINY, name) for name in ("source", "horizons", "network", "training", "folds", "seeds")},
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("given")


@pytest.fixture(scope="module")
def experiment(folder: Path) -> Experiment:
    return experiment_in(folder)


@pytest.fixture(scope="module")
def bars() -> Bars:
    return bars_of(random_market(300, 4))


@pytest.fixture(scope="module")
def frames(bars: Bars, experiment: Experiment) -> Frames:
    return frames_of(bars, experiment, file_covariates=read_file_covariates(experiment.sectors, experiment.covariates))


def test_an_experiment_with_covariates_survives_json_and_toml(experiment: Experiment, folder: Path) -> None:
    assert [type(spec) for spec in experiment.covariates] == [PastSeriesSpec, KnownFutureSeriesSpec]
    assert Experiment.model_validate(experiment.model_dump()) == experiment
    assert Experiment.model_validate(json.loads(json.dumps(experiment.model_dump(mode="json")))) == experiment
    assert tomllib.loads(TOML.format(folder=folder))["covariates"][0]["name"] == "vix"
    schema = Experiment.model_json_schema()
    assert {"PastSeriesSpec", "KnownFutureSeriesSpec"} <= set(schema["$defs"])


def test_sectors_an_index_a_series_and_the_calendar_become_frames(
    frames: Frames, experiment: Experiment, bars: Bars
) -> None:
    assert frames.known_future_names == (
        *("weekday_sin_1", "weekday_cos_1", "weekday_sin_2", "weekday_cos_2", "month_end", "days_to_next"),
        "fed",
    )
    assert frames.known_future.shape == (300, 2, 7)
    assert frames.known_future.dtype == np.float32
    assert np.isfinite(frames.known_future).all()
    assert set(experiment.network_features) <= set(frames.feature_names)
    plain = frames_of(bars, TINY)
    assert frames.with_features(plain.feature_names).features.tobytes() == plain.features.tobytes()
    first = experiment.minimum_sessions  # the index counts from its session of that number on, of its return the next
    np.testing.assert_array_equal(frames.usable[:, first:], plain.usable[:, first:])
    assert not frames.usable[:, :first].any()
    # every session has a 0 or 1 in turn, and the target is the next one
    np.testing.assert_array_equal(frames.known_future[:, 0, -1], (np.arange(300) + 1) % 2)
    np.testing.assert_array_equal(frames.known_future[:, 1, -1], np.arange(300) % 2)
    features = frames.with_features(("sector_log_range", "log_range", "market_log_range")).features
    assert (features[2, 100:150, 0] == features[2, 100:150, 1]).all()  # T2 is alone in its sector
    assert (features[3, 200:, 0] == features[3, 200:, 2]).all()  # T3 has none: the market's mean is used
    assert (features[0, 100:, 0] == features[1, 100:, 0])[np.isfinite(features[1, 100:, 0])].all()


def test_a_run_reads_the_files_of_an_experiment(frames: Frames, experiment: Experiment, bars: Bars) -> None:
    calendar = CalendarBars(bars, (), (), (), (), "", None, None)
    found = frames_on(calendar, experiment)
    assert found.features.tobytes() == frames.features.tobytes()
    assert found.known_future.tobytes() == frames.known_future.tobytes()
    with pytest.raises(TapecastError, match="read them with read_file_covariates"):
        frames_of(bars, experiment)


def test_frames_with_all_covariates_are_saved_and_opened(frames: Frames, tmp_path: Path) -> None:
    save_frames(frames, tmp_path)
    opened = open_frames(tmp_path)
    assert opened.known_future_names == frames.known_future_names
    assert opened.known_future.tobytes() == frames.known_future.tobytes()
    assert isinstance(opened.known_future, np.memmap)


def test_the_default_experiment_reads_the_bars_alone(bars: Bars) -> None:
    plain = frames_of(bars, TINY)
    assert plain.feature_names == TINY.all_features
    assert plain.known_future.shape == (300, 2, 0)


def test_both_types_of_series_are_in_the_key_of_a_network_s_fit_and_in_no_baseline_s(
    frames: Frames, experiment: Experiment
) -> None:
    known_future, features = np.array(frames.known_future), np.array(frames.features)
    known_future[100, 1, -1] += 1
    features[0, 100, frames.feature_names.index("vix")] += 1
    others = [
        Frames(**{**vars(frames), "known_future": known_future}),
        Frames(**{**vars(frames), "features": features}),
        Frames(**{**vars(frames), "known_future_names": (*frames.known_future_names[:-1], "ecb")}),
    ]
    assert len({digest_of_rows(one) for one in (frames, *others)}) == 4
    split = changed(experiment, folds={"train_end": "2023-06-30", "valid_end": "2023-09-29"})
    folds = folds_of(frames, split)

    def keys(some: Frames) -> dict[str, str]:
        return {job.forecaster.kind: job.key for job in jobs_of(some, folds[:1], split, "cpu")}

    assert folds[0].train.start <= 100 < folds[0].train.stop
    for other in others[:2]:
        changed_kinds = {kind for kind, key in keys(other).items() if key != keys(frames)[kind]}
        assert changed_kinds == {"network"}


def test_a_series_known_in_advance_must_cover_every_target_session(bars: Bars, experiment: Experiment) -> None:
    path = next(spec.path for spec in experiment.covariates if spec.name == "fed")
    table = pd.read_parquet(path)
    for gone, missing in ((-4, "2024-01-03"), (150, "2023-05-26"), (1, "2022-10-21")):
        day = table["day"].iloc[gone]
        assert str(day.date()) == missing
        table[table["day"] != day].to_parquet(path.with_name("holed.parquet"))
        spec = experiment.covariates[1].model_copy(update={"path": path.with_name("holed.parquet")})
        holed = experiment.model_copy(update={"covariates": (spec,)})
        with pytest.raises(UsageError, match=rf"fed from .*holed\.parquet: found no value for {missing} .* XNYS"):
            frames_of(bars, holed, file_covariates=read_file_covariates(holed.sectors, holed.covariates))
    table.iloc[:-3].to_parquet(path.with_name("just.parquet"))  # the two sessions after the last bar are enough
    spec = experiment.covariates[1].model_copy(update={"path": path.with_name("just.parquet")})
    just = experiment.model_copy(update={"covariates": (spec,)})
    assert frames_of(
        bars, just, file_covariates=read_file_covariates(just.sectors, just.covariates)
    ).known_future.shape == (
        300,
        2,
        7,
    )


def test_a_day_of_an_unforeseen_closing_needs_no_value(tmp_path: Path) -> None:
    """New York was closed for a storm on 2012-10-29 and 30: a file of its sessions does not have these days."""
    spec = KnownFutureSeriesSpec(name="fed", path=tmp_path / "fed.csv", column="x", known_in_advance=True)
    spec.path.write_text("date,x\n2012-10-26,1\n2012-10-31,2\n2012-11-01,3\n")
    from pipeline.dataset.covariates.known_future import known_future_values  # noqa: PLC0415

    known = read_file_covariates(None, (spec,)).known_future
    origins = np.array(["2012-10-25", "2012-10-26", "2012-10-31"], "datetime64[D]")
    assert known_future_values(known, "XNYS", origins, 1)[..., 0].tolist() == [[1], [1], [3]]
    with pytest.raises(UsageError, match="found no value for 2012-11-02"):
        known_future_values(known, "XNYS", origins, 2)


def test_sectors_of_other_tickers_are_refused_unless_another_calendar_has_them(experiment: Experiment) -> None:
    with_sectors = experiment.model_copy(update={"covariates": (), "index": None, "calendar_covariates": ()})
    file_covariates = read_file_covariates(with_sectors.sectors, ())
    us, coins = bars_on("XNYS", ("T0",), 1), bars_on("24/7", ("BTC-USD",), 5)
    with pytest.raises(UsageError, match="no sector of BTC-USD in"):
        frames_of(coins, with_sectors, file_covariates=file_covariates)
    frames = frames_of(coins, with_sectors, others=[us], file_covariates=file_covariates)
    features = frames.with_features(("sector_log_range", "market_log_range")).features
    np.testing.assert_array_equal(features[..., 0], features[..., 1])


def test_bitcoin_has_a_session_every_day_and_reads_an_index_of_new_york(experiment: Experiment) -> None:
    with_index = experiment.model_copy(update={"sectors": None, "covariates": ()})
    us, coins = bars_on("XNYS", ("T0",), 1), bars_on("24/7", ("BTC-USD",), 5)
    frames = frames_of(coins, with_index, others=[us])
    assert (frames.known_future[..., frames.known_future_names.index("days_to_next")] == 1).all()
    friday = int(np.flatnonzero(frames.sessions == np.datetime64("2024-06-07"))[0])
    index = frames.with_features(("index_return", "index_log_range")).features[0]
    assert index[friday, 0] != 0  # New York's Friday ends before the coin's
    assert (index[friday + 1 : friday + 3, 0] == 0).all()
    assert (index[friday : friday + 3, 1] == index[friday, 1]).all()
