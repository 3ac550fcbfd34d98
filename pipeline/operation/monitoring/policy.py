"""The policy: one pure decision a day on a model, from what is known at the close of a session."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from pydantic import BaseModel, Field

from pipeline.wording import count_of, percent

Action = Literal["keep", "refit", "roll back", "alarm"]
AlertKind = Literal["decayed", "drift"]


class PolicySpec(BaseModel, frozen=True, extra="forbid"):
    """When a model is refitted out of its turn, rolled back, or a person called; sessions are those of its calendar."""

    gain_sessions: int = Field(
        60, ge=1, description="Sessions after a change of the loss before a refit can have learned enough of it"
    )
    cooldown_sessions: int = Field(60, ge=1, description="Fewest sessions between two refits out of turn")
    trial_sessions: int = Field(
        60, ge=1, description="Sessions after a takeover in which the version before may be rolled back to"
    )
    data_age_sessions: int = Field(3, ge=1, description="Sessions without a bar of any ticker before an alarm")
    model_age_sessions: int = Field(400, ge=1, description="Sessions since the training ended before an alarm")


@dataclass(frozen=True)
class LossSignal:
    """Whether the published loss is larger than promised against a baseline: the cumulative sum and the e-value.

    `alarm_sessions` counts the sessions since the sum crossed its threshold, `rising_sessions` those since the change
    that it estimates; both are None where it is below. `worse_than` are the baselines that e-BH found it worse than.
    """

    alarm_sessions: int | None = None
    rising_sessions: int | None = None
    worse_than: tuple[str, ...] = ()

    @property
    def decayed(self) -> bool:
        """Whether either says so."""
        return self.alarm_sessions is not None or bool(self.worse_than)


@dataclass(frozen=True)
class Trial:
    """The champion against the version before it, on the sessions since the takeover.

    `previous_gain` is the share of the loss that the version before would have saved, and `p` that of no difference,
    one-sided.
    """

    sessions: int
    previous_gain: float
    p: float


@dataclass(frozen=True)
class Observations:
    """What is known of the model of a calendar at the close of a session.

    `calendar_refit` is why the calendar's refit is due, empty where it is not. `coverage` says what is wrong with the
    bands, empty where nothing is, `drifted` names the features whose distribution changed. `sessions_since_refit`
    counts from the last refit out of turn, None where there was none.
    """

    calendar_refit: str
    data_age_sessions: int
    model_age_sessions: int
    loss: LossSignal = LossSignal()
    coverage: str = ""
    drifted: tuple[str, ...] = ()
    trial: Trial | None = None
    sessions_since_refit: int | None = None


@dataclass(frozen=True)
class Decision:
    """What is done, which rule says so, why in words, what to alert a person of, and the numbers."""

    action: Action
    rule: str
    reason: str
    alerts: tuple[AlertKind, ...] = ()
    numbers: Mapping[str, float] = field(default_factory=dict)


LEVEL = 0.05
"""A version before is rolled back to where the champion's disadvantage has a p-value of at most this."""


def decide(observed: Observations, spec: PolicySpec) -> Decision:
    """Return the one decision of a day: the first rule that applies, in the order of _rules."""
    rule, action, reason = next(_rules(observed, spec))
    return Decision(action, rule, reason, tuple(_alerts(observed)), _numbers(observed))


def _rules(observed: Observations, spec: PolicySpec) -> Iterator[tuple[str, Action, str]]:
    """Yield the rules that apply: name, action and reason; the last one always does."""
    if observed.data_age_sessions >= spec.data_age_sessions:
        yield "old data", "alarm", f"no ticker has had a bar for {count_of(observed.data_age_sessions, 'session')}"
    if lost := _lost_trial(observed, spec):
        yield "trial lost", "roll back", lost
    if observed.calendar_refit:
        yield "calendar", "refit", observed.calendar_refit
    if observed.loss.decayed:
        yield _of_decay(observed, spec)
    if observed.model_age_sessions >= spec.model_age_sessions:
        yield "old model", "alarm", f"its training ended {count_of(observed.model_age_sessions, 'session')} ago"
    if observed.coverage:
        yield "coverage", "alarm", observed.coverage
    if observed.drifted:
        yield "drift", "keep", f"{', '.join(observed.drifted)} changed, and the loss is as promised"
    yield "steady", "keep", "loss, bands and features are as promised"


def _of_decay(observed: Observations, spec: PolicySpec) -> tuple[str, Action, str]:
    if _expects_gain(observed, spec):
        return "decayed, refit", "refit", f"{_decay(observed.loss)}, for long enough that a refit can learn from it"
    return "decayed", "alarm", f"{_decay(observed.loss)}; {_what_follows(observed, spec)}"


def _lost_trial(observed: Observations, spec: PolicySpec) -> str:
    """Return in words that the champion decayed and lost against the version before, empty where it did not."""
    trial = observed.trial
    if trial is None or not observed.loss.decayed or trial.sessions > spec.trial_sessions or trial.p > LEVEL:
        return ""
    return (
        f"{_decay(observed.loss)}, and the version before would have lost {percent(trial.previous_gain)} less in the "
        f"{count_of(trial.sessions, 'session')} since the takeover (p = {trial.p:.3f})"
    )


def _expects_gain(observed: Observations, spec: PolicySpec) -> bool:
    """Return whether a refit is expected to gain: enough sessions lie after the change, and it was not tried since.

    Training and early stopping read what was before as well: with a few sessions after a change a refit is the model
    that there is.
    """
    since = observed.sessions_since_refit
    rested = since is None or since >= spec.cooldown_sessions
    return rested and (observed.loss.rising_sessions or 0) >= spec.gain_sessions


def _decay(loss: LossSignal) -> str:
    parts = [f"worse than {', '.join(loss.worse_than)}"] if loss.worse_than else []
    if loss.alarm_sessions is not None:
        rising = count_of(loss.rising_sessions or 0, "session")
        parts.append(f"its loss has been larger than promised for {rising}")
    return " and ".join(parts)


def _what_follows(observed: Observations, spec: PolicySpec) -> str:
    since, rising = observed.sessions_since_refit, observed.loss.rising_sessions or 0
    if since is not None and since < spec.cooldown_sessions:
        return f"it was refitted {count_of(since, 'session')} ago"
    return f"a refit is expected to gain {count_of(max(spec.gain_sessions - rising, 1), 'session')} from now"


def _alerts(observed: Observations) -> Iterator[AlertKind]:
    if observed.loss.decayed:
        yield "decayed"
    if observed.drifted or observed.coverage:
        yield "drift"


def _numbers(observed: Observations) -> dict[str, float]:
    counted = {
        "data_age_sessions": observed.data_age_sessions,
        "model_age_sessions": observed.model_age_sessions,
        "alarm_sessions": observed.loss.alarm_sessions,
        "rising_sessions": observed.loss.rising_sessions,
        "sessions_since_refit": observed.sessions_since_refit,
        "previous_gain": observed.trial.previous_gain if observed.trial else None,
        "trial_p": observed.trial.p if observed.trial else None,
    }
    return {name: float(value) for name, value in counted.items() if value is not None}
