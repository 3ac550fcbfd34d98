"""What a forecast reads of the published models: market members, universe, and the last training session."""

from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from pipeline.errors import NothingUsableError, UsageError
from pipeline.experiment import Experiment
from pipeline.forecasters.forecaster import Fitted
from pipeline.forecasters.last_close import LastCloseSpec
from pipeline.market.bars import Exclusion
from pipeline.market.specification import SyntheticSource
from pipeline.market.universe import MembershipPeriod, Universe
from pipeline.operation.model import SYNTHETIC, Model, TrainedModel
from pipeline.operation.model_versions import publish
from pipeline.operation.publication import Publication
from pipeline.operation.takeover import FIRST
from pipeline.operation.version_files import VERSION_FORMAT, ModelVersion, VersionDescription
from pipeline.settings import Settings
from pipeline.training.jobs import FORMAT_VERSION
from pipeline.workflow.calendar_bars import by_calendar
from pipeline.workflow.forecast import (
    forecast,
    forecast_on_calendar,
    market_members,
    refuse_later_training,
    requested_on,
    with_new_members,
)
from pipeline.workflow.recording import recorded_experiment
from pipeline.workflow.run_context import RunContext, new_context
from tests.panels import TINY, fit_jobs, frames_from, jobs_for, random_market

from .builders import EVERYWHERE, NOW, Messages, loaded_of

pytestmark = [pytest.mark.timeout(300)]


def model_of(*members: str, until: str = "2024-06-03", other_tickers: tuple[str, ...] = ("BTC-USD",)) -> Model:
    experiment = Experiment(source=SyntheticSource(process="random_walk"), device="cpu")
    fitted = Fitted(LastCloseSpec(), ("volatility",), members, horizons=5, lookback_sessions=1, arrays={})
    return Model(experiment, members, other_tickers, None, until, (fitted,), Publication())


def version_of(model: Model) -> ModelVersion:
    """A version with one model, of Mumbai."""
    description = VersionDescription(
        format=VERSION_FORMAT,
        fit_format=FORMAT_VERSION,
        name=SYNTHETIC,
        number=1,
        created_at=NOW,
        calendars={},
        takeover=FIRST,
        files={},
    )
    return ModelVersion(description, {"XBOM": model}, Path("nowhere"))


@pytest.fixture
def with_messages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[RunContext, Messages]:
    monkeypatch.setenv("TAPECAST_HOME", str(tmp_path / "other"))
    messages = Messages()
    return new_context("forecast", None, messages), messages


def test_the_model_s_own_tickers_make_the_market_features(with_messages: tuple[RunContext, Messages]) -> None:
    context, messages = with_messages
    (bars,) = by_calendar(loaded_of("AAA", "BBB", "CCC"))
    assert market_members(context, model_of("CCC", "AAA", "GONE"), bars) == ("CCC", "AAA", "BTC-USD")
    assert market_members(context, model_of("BBB", other_tickers=()), bars) == ("BBB",)
    assert messages.sent == []


def test_where_none_of_them_is_there_the_requested_ones_are_used_and_that_is_reported(
    with_messages: tuple[RunContext, Messages],
) -> None:
    context, messages = with_messages
    (bars,) = by_calendar(loaded_of("AAA", "BBB"))
    assert market_members(context, model_of("GONE"), bars) == ("AAA", "BBB", "BTC-USD")
    (message,) = messages.sent
    assert "none of the model's tickers" in message


def test_the_tickers_of_the_model_s_other_calendars_are_read_too(home: Path, tmp_path: Path) -> None:
    context = replace(new_context("forecast"), settings=Settings(mlflow_experiment=tmp_path.name))
    frames = frames_from(random_market(500, 3))
    results = fit_jobs(jobs_for(frames, kinds=("ewma",), folds=slice(-1, None))[0], frames, tmp_path)
    trained = TrainedModel("XNYS", TINY, frames.tickers, ("TCS.BO", "BTC-USD"), None, tuple(results), Publication())
    publish(context.settings.models, SYNTHETIC, [trained], NOW)
    with pytest.raises(NothingUsableError) as caught:  # as that source has none of them
        forecast(context, ("T1", "NEW"), SyntheticSource(process="random_walk", tickers=1))
    reported = [out.ticker for out in caught.value.excluded if isinstance(out, Exclusion)]
    assert reported == ["T0", "T1", "T2", "TCS.BO", "BTC-USD", "NEW"]


def test_a_model_from_later_sessions_is_refused() -> None:
    models = {"XNYS": model_of("AAA", until="2024-05-01"), "XBOM": model_of("TCS.BO", until="2024-06-03")}
    refuse_later_training(models, NOW)  # the day after the last session that was read
    with pytest.raises(UsageError, match=r"until 2024-06-03, after 2024-06-02; use `tapecast run --as-known`"):
        refuse_later_training(models, datetime(2024, 6, 2, 23, 59, tzinfo=UTC))


def test_a_calendar_without_a_model_excludes_its_requested_tickers(with_messages: tuple[RunContext, Messages]) -> None:
    context, _ = with_messages
    (bars,) = by_calendar(loaded_of("AAA", "BBB", excluded=(Exclusion("GONE", "no such ticker"),)))
    requested = Experiment(tickers=("AAA", "GONE"), device="cpu")
    with (
        pytest.raises(NothingUsableError, match="no model is published for calendar XNYS") as caught,
        recorded_experiment(context.settings, context.kind, requested) as recording,
    ):
        forecast_on_calendar(version_of(model_of("TCS.BO")), context, recording, bars, requested)
    assert [out.ticker for out in caught.value.excluded if isinstance(out, Exclusion)] == ["GONE", "AAA"]


def test_a_forecast_has_the_requested_tickers_of_each_calendar() -> None:
    requested = Experiment(tickers=("TCS.BO", "AAA", "GONE"), device="cpu")
    calendars = by_calendar(loaded_of(*EVERYWHERE, excluded=(Exclusion("GONE", "none"),)))
    found = {calendar.calendar: requested_on(requested, calendar).tickers for calendar in calendars}
    assert found == {"XBOM": ("TCS.BO",), "XNYS": ("AAA", "GONE")}


def test_tickers_that_the_model_does_not_list_belong_to_its_universe_always() -> None:
    dated = Universe("mine", ("AAA",), (MembershipPeriod("AAA", date(2020, 1, 2), date(2021, 1, 4)),))
    found = with_new_members(dated, ("AAA", "NEW"))
    assert found is not None
    assert found.memberships == (*dated.memberships, MembershipPeriod("NEW", None, None))
    plain = Universe("mine", ("AAA",))
    assert with_new_members(plain, ("NEW",)) == plain
    assert with_new_members(None, ("NEW",)) is None
