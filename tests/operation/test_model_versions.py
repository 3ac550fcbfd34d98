"""Model versions: numbered, whole, read as published, aliased, and refused in words where they were changed."""

import json
import resource
import threading
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.errors import FitError, UsageError
from pipeline.market.specification import FilesSource, SampleSource, StoredSource, SyntheticSource, YahooSource
from pipeline.operation.aliases import ALIASES, Aliases, one_publisher, read_aliases, write_aliases
from pipeline.operation.champion import UnreadableVersion, find_champion, find_sound_version
from pipeline.operation.model import DAILY, SAMPLE, SYNTHETIC, common_source, model_name, refuse_unusable_name
from pipeline.operation.model_versions import (
    model_names,
    name_to_forecast_with,
    promote,
    prunable,
    prune,
    publish,
    read_version,
    rollback,
    versions,
)
from pipeline.operation.sealed_json import opened, sealed
from pipeline.operation.takeover import Takeover
from pipeline.operation.version_files import DESCRIPTION, VersionDescription, folder_of
from pipeline.training.jobs import FitResult
from tests.panels import TINY, changed

from .fitted_models import BACKTEST, CHOSEN, DATED, NOW, small_fits, trained

Published = tuple[Path, list[FitResult]]

REFUSED = Takeover(False, "Not the champion: XNYS: it is worse.", {"XNYS/validation_loss": 0.31})


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> list[FitResult]:
    return small_fits(tmp_path_factory.mktemp("fits"))


@pytest.fixture
def published(tmp_path: Path, results: list[FitResult]) -> Published:
    publish(tmp_path / "models", DAILY, [trained(("T0", "T1", "T2"), results)], NOW)
    return tmp_path / "models", results


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_is_read_is_what_was_published(published: Published) -> None:
    folder, results = published
    version = read_version(folder, DAILY)
    assert (version.name, version.number, version.description.created_at) == (DAILY, 1, NOW)
    (model,) = version.models.values()
    assert (model.other_tickers, model.universe, model.publication) == (("BTC-USD",), DATED, CHOSEN)
    assert (model.experiment, model.backtest) == (TINY, BACKTEST)
    assert model.market_members == model.trained_on == ("T0", "T1", "T2")
    assert model.trained_until == str(results[0].job.fold.validation.until)
    assert [f.forecaster for f in model.fits] == [r.job.forecaster for r in results]
    for found, result in zip(model.fits, results, strict=True):
        assert result.fitted is not None
        assert all(np.array_equal(found.arrays[name], array) for name, array in result.fitted.arrays.items())
    assert sorted(path.name for path in (folder / DAILY).iterdir()) == [".lock", "0001", ALIASES]


def test_the_file_has_the_version_as_plain_values(published: Published) -> None:
    folder, results = published
    content = json.loads((folder / DAILY / "0001" / DESCRIPTION).read_text())
    assert list(content) == [*VersionDescription.model_fields, "sha256"]
    model = content["calendars"]["XNYS"]
    assert model["fits"] == [result.job.key for result in results]
    assert model["backtest"] == {"date": "2024-01-02", "verdict": BACKTEST.verdict, "mlflow_run_id": "abcd"}
    assert model["publication"]["by_ticker"] == {"2": {"T1": "network"}}
    assert sorted(content["files"]) == sorted(
        f"fits/{result.job.key}/{name}" for result in results for name in ("fit.json", "weights.safetensors")
    )


def test_the_next_version_takes_over_and_the_former_stays_readable(published: Published) -> None:
    folder, results = published
    before = files_of(folder / DAILY / "0001")
    assert publish(folder, DAILY, [trained(("T0",), results[1:])], NOW).number == 2
    assert read_aliases(folder / DAILY) == Aliases(champion=2, previous=1)
    assert read_version(folder, DAILY).models["XNYS"].market_members == ("T0",)
    assert read_version(folder, DAILY, "previous").models["XNYS"].market_members == ("T0", "T1", "T2")
    assert read_version(folder, DAILY, 1).number == 1
    assert files_of(folder / DAILY / "0001") == before


def test_calendars_that_were_not_trained_are_carried_over_with_their_files(published: Published) -> None:
    folder, results = published
    publish(folder, DAILY, [trained(("B",), results[1:], "24/7"), trained(("L",), results, "XLON")], NOW)
    publish(folder, DAILY, [trained(("T0",), results[1:])], NOW)
    models = read_version(folder, DAILY).models
    assert {calendar: (model.market_members, len(model.fits)) for calendar, model in models.items()} == {
        "24/7": (("B",), 1),
        "XLON": (("L",), 2),
        "XNYS": (("T0",), 1),
    }
    files = read_version(folder, DAILY).description.files
    assert files == read_version(folder, DAILY, 2).description.files, "the same fits, copied"


def test_publishing_the_same_again_is_the_same_version(published: Published) -> None:
    """As after a process that was killed between the version and its alias."""
    folder, results = published
    (folder / DAILY / ALIASES).unlink()
    with pytest.raises(UsageError, match=r"has no champion among version 1; name one with `tapecast model promote"):
        read_version(folder, DAILY)
    assert publish(folder, DAILY, [trained(("T0", "T1", "T2"), results)], NOW).number == 1
    assert read_aliases(folder / DAILY) == Aliases(champion=1)
    assert publish(folder, DAILY, [trained(("T0", "T1", "T2"), results)], NOW).number == 1
    assert read_aliases(folder / DAILY) == Aliases(champion=1)


def test_a_refused_version_is_stored_without_an_alias_and_says_why(published: Published) -> None:
    folder, results = published
    assert publish(folder, DAILY, [trained(("T0",), results)], NOW, REFUSED).number == 2
    assert read_aliases(folder / DAILY) == Aliases(champion=1)
    assert read_version(folder, DAILY, 2).description.takeover == REFUSED
    assert promote(folder, DAILY, 2) == Aliases(champion=2, previous=1), "a person's choice"
    assert publish(folder, DAILY, [trained(("T1",), results)], NOW).number == 3
    assert read_aliases(folder / DAILY) == Aliases(champion=3, previous=2)


def test_no_other_name_is_touched(published: Published) -> None:
    folder, results = published
    before = files_of(folder / DAILY)
    publish(folder, SAMPLE, [trained(("S",), results)], NOW)
    publish(folder, "spx-100", [trained(("S",), results)], NOW)
    for name in (SAMPLE, "spx-100"):
        publish(folder, name, [trained(("S", "T"), results)], NOW)
        rollback(folder, name)
        promote(folder, name, 2)
        prune(folder, name, 1)
    assert files_of(folder / DAILY) == before
    assert model_names(folder) == (DAILY, SAMPLE, "spx-100")


def test_rollback_exchanges_champion_and_previous(published: Published) -> None:
    folder, results = published
    with pytest.raises(UsageError, match=r"model daily has no previous among version 1; name one with"):
        rollback(folder, DAILY)
    publish(folder, DAILY, [trained(("T0",), results)], NOW)
    assert rollback(folder, DAILY) == Aliases(champion=1, previous=2)
    assert rollback(folder, DAILY) == Aliases(champion=2, previous=1)
    assert promote(folder, DAILY, 2) == Aliases(champion=2, previous=1), "it is the champion already"


def test_pruning_keeps_the_last_ones_and_those_with_an_alias(published: Published) -> None:
    folder, results = published
    for k in range(5):
        publish(folder, DAILY, [trained((f"T{k}",), results)], NOW)
    promote(folder, DAILY, 2)
    pruned = prune(folder, DAILY, keep=2)
    assert pruned.numbers == (1, 3, 4)
    assert pruned.freed_bytes > 3000
    assert [it.number for it in versions(folder, DAILY)] == [2, 5, 6]
    assert read_aliases(folder / DAILY) == Aliases(champion=2, previous=6)
    with pytest.raises(UsageError, match=r"no version 3 of model daily, expected one of versions 2 to 6: it was"):
        read_version(folder, DAILY, 3)
    with pytest.raises(UsageError, match="no version 3"):
        promote(folder, DAILY, 3)
    assert publish(folder, DAILY, [trained(("T9",), results)], NOW).number == 7


def test_what_is_needed_or_young_is_not_pruned(published: Published) -> None:
    folder, results = published
    for k in range(1, 6):
        publish(folder, DAILY, [trained((f"T{k}",), results)], NOW + timedelta(days=k))
    assert prunable(folder, DAILY, 1, {2}) == (1, 3, 4)
    assert prunable(folder, DAILY, 1, {2}, NOW + timedelta(days=3)) == (1, 3)
    assert prune(folder, DAILY, 1, {2}, NOW + timedelta(days=3)).numbers == (1, 3)
    (folder_of(folder / DAILY, 2) / DESCRIPTION).write_text("{}")
    assert prunable(folder, DAILY, 1, (), NOW + timedelta(days=9)) == (4,), "its age is unknown"
    assert prunable(folder, DAILY, 1) == (2, 4)


def test_without_a_model_the_error_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no published model daily under .*; run `tapecast run --publish` first"):
        read_version(tmp_path, DAILY)
    with pytest.raises(UsageError, match="run `tapecast run --publish --model mine` first"):
        read_version(tmp_path, "mine")
    for refused in (versions, rollback, prune):
        with pytest.raises(UsageError, match="no published model"):
            refused(tmp_path, DAILY)
    with pytest.raises(UsageError, match="no published model"):
        promote(tmp_path, DAILY, 1)
    assert (find_champion(tmp_path, DAILY), model_names(tmp_path / "none")) == (None, ())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("name", "file"), [(DAILY, "latest.json"), (SAMPLE, "sample.json")])
def test_a_model_of_before_versions_is_refused_in_one_sentence(
    name: str, file: str, tmp_path: Path, results: list[FitResult]
) -> None:
    (tmp_path / file).write_text("{}")
    assert name_to_forecast_with(tmp_path, None) == name
    with pytest.raises(UsageError) as caught:
        read_version(tmp_path, name)
    assert str(caught.value) == (
        f"found {tmp_path / file}, where an earlier tapecast kept a model without versions, expected versions of model "
        f"{name}; run `tapecast run --publish` (finished fits are found again), then delete that file"
    )
    publish(tmp_path, name, [trained(("T0",), results)], NOW)
    assert read_version(tmp_path, name).number == 1


def test_a_changed_byte_in_any_file_of_a_version_is_refused(published: Published) -> None:
    folder, _ = published
    place = folder / DAILY / "0001"
    for name, content in files_of(place).items():
        for at in np.linspace(0, len(content) - 1, 60).astype(int):
            (place / name).write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
            with pytest.raises(FitError, match=r"cannot read version 1 of model daily in .*; choose another with"):
                read_version(folder, DAILY)
        for damaged in (b"", content[:-10], b"\xff" + content, content + b" ", b"null", b"[" * 100_000):
            (place / name).write_bytes(damaged)
            with pytest.raises(FitError, match="cannot read version 1"):
                read_version(folder, DAILY)
        (place / name).unlink()
        with pytest.raises(FitError, match="cannot read version 1"):
            read_version(folder, DAILY)
        (place / name).write_bytes(content)
        assert read_version(folder, DAILY).number == 1


def test_a_changed_byte_of_the_aliases_is_refused_until_a_person_names_the_champion(published: Published) -> None:
    folder, results = published
    publish(folder, DAILY, [trained(("T0",), results)], NOW)
    path = folder / DAILY / ALIASES
    content = path.read_bytes()
    for at in range(len(content)):
        path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        for reader in (read_version, find_champion, find_sound_version, rollback, prune):
            with pytest.raises(FitError, match=r"aliases of model daily .* with `tapecast model promote VERSION"):
                reader(folder, DAILY)
        with pytest.raises(FitError, match="aliases"):
            publish(folder, DAILY, [trained(("T0",), results)], NOW)
    assert promote(folder, DAILY, 1) == Aliases(champion=1)
    assert read_version(folder, DAILY).number == 1


VALUES: st.SearchStrategy[object] = st.one_of(
    st.none(), st.integers(), st.text(max_size=5), st.lists(st.integers(), max_size=2), st.just({})
)


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(field=st.sampled_from([*VersionDescription.model_fields]), value=VALUES, sealed_again=st.booleans())
def test_whatever_stands_in_the_file_only_our_own_errors_come_out(
    field: str, value: object, sealed_again: bool, published: Published
) -> None:
    folder, _ = published
    path = folder / DAILY / "0001" / DESCRIPTION
    content = path.read_bytes()
    values = json.loads(content)
    changed_values = {**values, field: value}
    path.write_bytes(
        sealed({k: v for k, v in changed_values.items() if k != "sha256"})
        if sealed_again
        else json.dumps(changed_values, indent=1).encode()
    )
    with pytest.raises((FitError, UsageError)):
        read_version(folder, DAILY)
    assert isinstance(versions(folder, DAILY)[0], VersionDescription | UnreadableVersion)
    path.write_bytes(content)


def test_a_changed_value_is_refused_though_it_is_valid(published: Published) -> None:
    folder, _ = published
    path = folder / DAILY / "0001" / DESCRIPTION
    content = path.read_text()
    assert content.count('"trained_until": "2023') == 1
    path.write_text(content.replace('"trained_until": "2023', '"trained_until": "2013'))
    with pytest.raises(FitError, match="its content is not what its digest says"):
        read_version(folder, DAILY)
    (listed,) = versions(folder, DAILY)
    assert isinstance(listed, UnreadableVersion)


def test_a_version_that_was_moved_is_refused(published: Published) -> None:
    folder, _ = published
    (folder / DAILY / "0001").rename(folder_of(folder / DAILY, 2))
    with pytest.raises(FitError, match="it is version 1 of model daily"):
        read_version(folder, DAILY, 2)


def test_a_fit_without_a_digest_is_refused(published: Published) -> None:
    folder, _ = published
    path = folder / DAILY / "0001" / DESCRIPTION
    values = opened(path.read_bytes())
    path.write_bytes(sealed({**values, "files": dict(list(dict(values["files"]).items())[1:])}))  # type: ignore[call-overload]
    with pytest.raises(FitError, match="it has no digest of fits/"):
        read_version(folder, DAILY)


@pytest.mark.parametrize("change", [{"format": 0}, {"fit_format": 3}, {"format": None}])
def test_a_version_of_another_tapecast_is_refused_and_the_next_takes_its_place(
    change: dict[str, object], published: Published
) -> None:
    folder, results = published
    path = folder / DAILY / "0001" / DESCRIPTION
    path.write_bytes(sealed({**opened(path.read_bytes()), **change}))
    with pytest.raises(UsageError) as caught:
        read_version(folder, DAILY)
    assert str(caught.value) == (
        f"version 1 of model daily in {path.parent} was written by another version of tapecast; run `tapecast run "
        "--publish` again"
    )
    assert publish(folder, DAILY, [trained(("B",), results, "24/7")], NOW).number == 2
    assert list(read_version(folder, DAILY).models) == ["24/7"]
    assert read_aliases(folder / DAILY) == Aliases(champion=2), "a rollback to it would forecast nothing"


def test_a_write_that_fails_half_way_leaves_nothing(published: Published) -> None:
    folder, results = published
    before = files_of(folder)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, hard))  # what a full disk does
    try:
        with pytest.raises(UsageError, match="cannot write"):
            publish(folder, DAILY, [trained(("T0",), results)], NOW)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert files_of(folder) == before
    assert len([*(folder / DAILY).iterdir()]) == 3


def test_an_unwritable_folder_is_a_usage_error(tmp_path: Path, results: list[FitResult]) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"cannot lock .*; expected a folder that you may write in"):
        publish(tmp_path / "file", DAILY, [trained(("T0",), results)], NOW)


def test_one_publisher_at_a_time(published: Published) -> None:
    folder, results = published
    with (
        one_publisher(folder / DAILY),
        pytest.raises(UsageError, match=r"another process has been changing .* wait until it ends"),
        one_publisher(folder / DAILY, 0.05),
    ):
        pass
    members = [(f"T{k}",) for k in range(6)]
    threads = [threading.Thread(target=publish, args=(folder, DAILY, [trained(m, results)], NOW)) for m in members]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = [read_version(folder, DAILY, number).models["XNYS"].market_members for number in range(2, 8)]
    assert sorted(found) == members
    aliases = read_aliases(folder / DAILY)
    assert aliases == Aliases(champion=7, previous=6)


def test_names_belong_to_kinds_of_prices() -> None:
    sources = (SampleSource(), YahooSource(), StoredSource(), FilesSource(path=Path("x.csv")))
    assert [model_name(source) for source in sources] == [SAMPLE, DAILY, DAILY, DAILY]
    assert model_name(SyntheticSource()) == SYNTHETIC
    for source in (*sources, SyntheticSource()):
        refuse_unusable_name(model_name(source), source)
        refuse_unusable_name("spx-100", source)
    with pytest.raises(UsageError, match="found the name daily for a model of sample prices, expected sample"):
        refuse_unusable_name(DAILY, SampleSource())
    with pytest.raises(UsageError, match="found the name synthetic for a model of yahoo prices, expected daily"):
        refuse_unusable_name(SYNTHETIC, YahooSource())


@pytest.mark.parametrize("name", ["", "../x", "A", "a/b", ".hidden", "a" * 65, "-x", "a\n"])
def test_what_is_no_name_is_refused(name: str, tmp_path: Path, results: list[FitResult]) -> None:
    with pytest.raises(UsageError, match="as the name of a model"):
        read_version(tmp_path, name)
    with pytest.raises(UsageError, match="as the name of a model"):
        publish(tmp_path, name, [trained(("T0",), results)], NOW)
    assert list(tmp_path.iterdir()) == []


def test_the_model_to_forecast_with_is_that_of_the_source_else_the_user_s_own(published: Published) -> None:
    folder, results = published
    assert name_to_forecast_with(folder, None) == DAILY
    assert name_to_forecast_with(folder, SampleSource()) == SAMPLE
    publish(folder, SYNTHETIC, [trained(("S",), results)], NOW)
    assert name_to_forecast_with(folder, None) == DAILY
    for kept, expected in ((SYNTHETIC, SYNTHETIC), (SAMPLE, SAMPLE), (None, DAILY)):
        other = folder.parent / str(kept)
        if kept:
            publish(other, kept, [trained(("S",), results)], NOW)
        assert name_to_forecast_with(other, None) == expected
        assert name_to_forecast_with(other, YahooSource()) == DAILY


def test_models_of_several_sources_are_refused_where_none_is_named(published: Published) -> None:
    folder, results = published
    assert common_source(read_version(folder, DAILY).models) == TINY.source
    elsewhere = replace(trained(("L",), results, "XLON"), experiment=changed(TINY, source=YahooSource()))
    publish(folder, DAILY, [elsewhere], NOW)
    with pytest.raises(
        UsageError, match=r"different prices \(that of XLON yahoo, that of XNYS synthetic\), expected one"
    ):
        common_source(read_version(folder, DAILY).models)


def test_an_alias_of_a_version_that_is_gone_is_named(published: Published) -> None:
    folder, _ = published
    write_aliases(folder / DAILY, Aliases(champion=4))
    with pytest.raises(UsageError, match="found no version 4 of model daily"):
        read_version(folder, DAILY)
