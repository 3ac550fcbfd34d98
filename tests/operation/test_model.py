"""Published models: written whole, read back, and an error in words where it is missing or damaged."""

import json
import resource
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.errors import FitError, UsageError
from pipeline.files import write_whole
from pipeline.market.specification import SampleSource, StoredSource, YahooSource
from pipeline.market.universe import MembershipPeriod, Universe
from pipeline.operation.model import (
    LATEST,
    SAMPLE,
    Model,
    TrainedModel,
    common_source,
    model_name,
    name_to_forecast_with,
    publish,
    published_models,
)
from pipeline.operation.publication import Publication
from pipeline.training.cache import WEIGHTS, FitCache
from pipeline.training.jobs import FORMAT_VERSION, FitResult
from tests.panels import TINY, changed, fit_jobs, frames_from, jobs_for, random_market

DATED = Universe("some", ("T0",), (MembershipPeriod("T0", date(2020, 1, 2), None),))

FILE = f"{LATEST}.json"

Published = tuple[Path, FitCache, list[FitResult]]


CHOSEN = Publication("network", {1: "network", 2: "ewma"}, {2: {"T1": "network"}})


def trained(market_members: tuple[str, ...], results: list[FitResult], calendar: str = "XNYS") -> TrainedModel:
    return TrainedModel(calendar, TINY, market_members, ("BTC-USD",), DATED, tuple(results), CHOSEN)


@pytest.fixture
def published(tmp_path: Path) -> Published:
    frames = frames_from(random_market(500, 3))
    jobs, _ = jobs_for(frames, kinds=("network", "ewma"), folds=slice(-1, None))
    results = fit_jobs(jobs, frames, tmp_path)
    publish(tmp_path / "models", LATEST, [trained(frames.tickers, results)])
    return tmp_path / "models", FitCache(tmp_path / "kept"), results


def test_what_is_read_is_what_was_published(published: Published) -> None:
    folder, kept, results = published
    (model,) = published_models(folder, LATEST, kept).values()
    assert (model.other_tickers, model.universe) == (("BTC-USD",), DATED)
    assert model.experiment == TINY
    assert model.market_members == model.trained_on == ("T0", "T1", "T2")
    assert model.trained_until == str(results[0].job.fold.validation.until)
    assert [f.forecaster for f in model.fits] == [r.job.forecaster for r in results]
    for found, result in zip(model.fits, results, strict=True):
        assert result.fitted is not None
        assert all(np.array_equal(found.arrays[name], array) for name, array in result.fitted.arrays.items())
    assert [path.name for path in folder.iterdir()] == [FILE]


def test_the_file_has_the_model_as_plain_values(published: Published) -> None:
    folder, _, results = published
    content = json.loads((folder / FILE).read_text())
    periods = [
        {"ticker": one.ticker, "member_from": one.member_from.isoformat(), "member_until": None}
        for one in DATED.memberships
    ]
    assert content == {
        "XNYS": {
            "format": FORMAT_VERSION,
            "experiment": TINY.model_dump(mode="json"),
            "market_members": ["T0", "T1", "T2"],
            "other_tickers": ["BTC-USD"],
            "universe": {"name": DATED.name, "tickers": list(DATED.tickers), "memberships": periods},
            "trained_until": str(results[0].job.fold.validation.until),
            "fits": [result.job.key for result in results],
            "publication": {
                "model": "network",
                "pooled": {"1": "network", "2": "ewma"},
                "by_ticker": {"2": {"T1": "network"}},
            },
        }
    }


def test_the_newest_takes_the_place_of_the_former(published: Published) -> None:
    folder, kept, results = published
    publish(folder, LATEST, [trained(("T0",), results[1:])])
    (model,) = published_models(folder, LATEST, kept).values()
    assert (model.market_members, len(model.fits)) == (("T0",), 1)


def test_every_calendar_has_its_own(published: Published) -> None:
    folder, kept, results = published
    publish(folder, LATEST, [trained(("T0",), results), trained(("B",), results[1:], "24/7")])
    models = published_models(folder, LATEST, kept)
    assert {calendar: (model.market_members, len(model.fits)) for calendar, model in models.items()} == {
        "XNYS": (("T0",), 2),
        "24/7": (("B",), 1),
    }


def test_without_a_model_the_error_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no published model under .*; run `tapecast run --publish` first"):
        published_models(tmp_path, LATEST, FitCache(tmp_path))


DAMAGE: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "truncated": (FILE, lambda content: content[:-20]),
    "empty": (FILE, lambda content: content[:0]),
    "not unicode": (FILE, lambda content: b"\xff" + content),
    "null": (FILE, lambda _: b"null"),
    "weights truncated": (WEIGHTS, lambda content: content[:-10]),
    "weights empty": (WEIGHTS, lambda content: content[:0]),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_model_is_a_fit_error(damage: str, published: Published) -> None:
    folder, kept, _ = published
    name, change = DAMAGE[damage]
    path = next(folder.parent.rglob(name))
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(FitError, match="cannot read"):
        published_models(folder, LATEST, kept)


def test_a_model_whose_fit_is_gone_is_a_fit_error(published: Published) -> None:
    folder, kept, _ = published
    next(kept.folder.rglob(WEIGHTS)).unlink()
    with pytest.raises(FitError, match="cannot read"):
        published_models(folder, LATEST, kept)


VALUES: st.SearchStrategy[object] = st.one_of(
    st.none(), st.integers(), st.text(max_size=5), st.lists(st.integers(), max_size=2), st.just({})
)


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    field=st.sampled_from(["experiment", "market_members", "other_tickers", "universe", "fits", "trained_until"]),
    value=VALUES,
)
def test_whatever_stands_in_the_file_only_our_own_errors_come_out(
    field: str, value: object, published: Published
) -> None:
    folder, kept, results = published
    publish(folder, LATEST, [trained(("T0",), results)])
    content = json.loads((folder / FILE).read_text())
    (folder / FILE).write_text(json.dumps({"XNYS": {**content["XNYS"], field: value}}))
    with suppress(FitError, UsageError):
        assert all(isinstance(model, Model) for model in published_models(folder, LATEST, kept).values())


def test_an_unwritable_folder_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot write"):
        write_whole(tmp_path / "file" / FILE, b"{}")


def test_a_write_that_fails_half_way_keeps_the_former_and_leaves_nothing(published: Published) -> None:
    folder, _, _ = published
    before = (folder / FILE).read_text()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))  # what a full disk does
    try:
        with pytest.raises(UsageError, match="cannot write"):
            write_whole(folder / FILE, b"x" * 100_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (folder / FILE).read_text() == before
    assert [path.name for path in folder.iterdir()] == [FILE]


def test_removed_fits_are_named_as_such(published: Published) -> None:
    folder, kept, results = published
    publish(folder, LATEST, [trained(("T0",), results)])
    with pytest.raises(UsageError, match=r"fits were removed .* run `tapecast run --publish` again"):
        published_models(folder, LATEST, FitCache(kept.folder / "elsewhere"))


def test_publishing_leaves_the_models_of_other_calendars(published: Published) -> None:
    folder, kept, results = published
    publish(folder, LATEST, [trained(("B",), results[1:], "24/7")])
    models = published_models(folder, LATEST, kept)
    assert {calendar: model.market_members for calendar, model in models.items()} == {
        "XNYS": ("T0", "T1", "T2"),
        "24/7": ("B",),
    }


def test_the_sample_has_a_name_of_its_own_that_other_runs_never_read(published: Published) -> None:
    folder, kept, results = published
    before = (folder / FILE).read_text()
    assert (model_name(SampleSource()), model_name(YahooSource()), model_name(StoredSource())) == (
        SAMPLE,
        LATEST,
        LATEST,
    )
    publish(folder, SAMPLE, [trained(("S",), results)])
    assert (folder / FILE).read_text() == before
    assert published_models(folder, SAMPLE, kept)["XNYS"].market_members == ("S",)
    assert name_to_forecast_with(folder, None) == LATEST
    assert name_to_forecast_with(folder, YahooSource()) == LATEST
    (folder / FILE).unlink()
    assert name_to_forecast_with(folder, None) == SAMPLE
    assert name_to_forecast_with(folder, YahooSource()) == LATEST


def test_a_model_of_another_version_is_refused_and_replaced_by_the_next(published: Published) -> None:
    folder, kept, results = published
    content = json.loads((folder / FILE).read_text())
    (folder / FILE).write_text(json.dumps({"XLON": {**content["XNYS"], "format": 2}}))
    with pytest.raises(UsageError, match=r"written by another version of tapecast; run `tapecast run --publish` again"):
        published_models(folder, LATEST, kept)
    publish(folder, LATEST, [trained(("T0",), results)])
    assert list(published_models(folder, LATEST, kept)) == ["XNYS"]


def test_publishing_replaces_only_the_calendars_that_were_trained(published: Published) -> None:
    folder, kept, results = published
    publish(folder, LATEST, [trained(("B",), results[1:], "24/7"), trained(("L",), results, "XLON")])
    before = json.loads((folder / FILE).read_text())
    publish(folder, LATEST, [trained(("T0",), results[1:])])
    after = json.loads((folder / FILE).read_text())
    assert {calendar: after[calendar] for calendar in ("24/7", "XLON")} == {
        calendar: before[calendar] for calendar in ("24/7", "XLON")
    }
    models = published_models(folder, LATEST, kept)
    assert {calendar: (model.market_members, len(model.fits)) for calendar, model in models.items()} == {
        "XNYS": (("T0",), 1),
        "24/7": (("B",), 1),
        "XLON": (("L",), 2),
    }


def test_a_forecast_of_prices_from_yahoo_never_reads_the_model_of_the_sample(published: Published) -> None:
    folder, kept, results = published
    publish(folder, model_name(SampleSource()), [trained(("S",), results)])
    (folder / FILE).unlink()
    for source in (YahooSource(), StoredSource()):
        with pytest.raises(UsageError, match=r"no published model under .*; run `tapecast run --publish` first"):
            published_models(folder, name_to_forecast_with(folder, source), kept)
    publish(folder, LATEST, [trained(("T0",), results)])
    for requested in (None, YahooSource(), StoredSource()):
        models = published_models(folder, name_to_forecast_with(folder, requested), kept)
        assert models["XNYS"].market_members == ("T0",)


def test_models_of_several_sources_are_refused_where_none_is_named(published: Published) -> None:
    folder, kept, results = published
    assert common_source(published_models(folder, LATEST, kept)) == TINY.source
    elsewhere = replace(trained(("L",), results, "XLON"), experiment=changed(TINY, source=YahooSource()))
    publish(folder, LATEST, [elsewhere])
    with pytest.raises(
        UsageError, match=r"different prices \(that of XNYS synthetic, that of XLON yahoo\), expected one"
    ):
        common_source(published_models(folder, LATEST, kept))


@pytest.mark.parametrize("written", [None, 2, "3"])
def test_a_model_of_an_older_format_is_refused_in_one_sentence_that_says_what_to_do(
    written: object, published: Published
) -> None:
    folder, kept, _ = published
    content = json.loads((folder / FILE).read_text())
    content["XNYS"]["format"] = written
    if written is None:  # the first versions wrote none
        del content["XNYS"]["format"]
    (folder / FILE).write_text(json.dumps(content))
    with pytest.raises(UsageError) as caught:
        published_models(folder, LATEST, kept)
    assert str(caught.value) == (
        f"the model in {folder / FILE} was written by another version of tapecast; run `tapecast run --publish` again"
    )
