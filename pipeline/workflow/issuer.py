"""Who issues: a model version on a calendar, with its ledger, and the state of post-processing that it goes on from."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from pipeline.errors import FitError, UsageError
from pipeline.forecasting.postprocessing_state import PostprocessingState
from pipeline.operation.ledger.database import Ledger
from pipeline.operation.ledger.entries import Entry
from pipeline.operation.ledger.reading import last_entry
from pipeline.operation.model import Model
from pipeline.operation.states import get_state, put_state
from pipeline.operation.version_files import ModelVersion


@dataclass(frozen=True)
class Issuer:
    """What every issue of one model and calendar needs: the ledger, the version, and who runs."""

    ledger: Ledger
    version: ModelVersion
    calendar: str
    run_id: str
    known_at: datetime | None
    price_basis: str
    delay: timedelta = timedelta()  # how long after its close a session is issued at the earliest

    @property
    def model(self) -> Model:
        """The version's model of the calendar."""
        return self.version.models[self.calendar]

    @property
    def last(self) -> Entry | None:
        """The last entry of the ledger for this model name and calendar."""
        return last_entry(self.ledger, self.version.name, self.calendar)


def live_state(issuer: Issuer, last: Entry | None) -> PostprocessingState | None:
    """Return the state of post-processing to go on from: that of the last issue, or the version's own.

    The version's own, too, where it calibrates another forecaster or forecasts other horizons, and where the last issue
    was one of an earlier version of tapecast.

    Raises FitError where that of the last issue is gone or was changed.
    """
    own = issuer.model.state
    if last is None or last.provenance.calibration_digest is None or own is None:
        return own
    state = get_state(issuer.version.folder.parent, issuer.calendar, last.provenance.calibration_digest)
    if state is None or (state.horizons, state.calibrated) != (own.horizons, own.calibrated):
        return own
    return state


def usable_state(issuer: Issuer, last: Entry | None) -> tuple[PostprocessingState | None, list[str]]:
    """Return the state to go on from, the version's own where that of the last issue is lost, with a warning then.

    The version's own is followed again through the sessions since: a lost file must not cost a forecast.
    """
    try:
        return live_state(issuer, last), []
    except FitError as error:
        warning = f"{error}. Combination and calibration were followed again from the end of the version's backtest on."
        return issuer.model.state, [warning]


def kept(issuer: Issuer, state: PostprocessingState | None) -> list[str]:
    """Return a warning where the state of an issue cannot be stored, which must not cost the issue."""
    if state is None:
        return []
    try:
        put_state(issuer.version.folder.parent, issuer.calendar, state)
    except UsageError as error:
        return [f"The state of combination and calibration could not be stored: {error}"]
    return []
