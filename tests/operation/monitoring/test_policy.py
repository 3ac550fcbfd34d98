"""The policy: each rule by itself, their order, and what no observation may lead to."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.operation.monitoring.policy import LEVEL, LossSignal, Observations, PolicySpec, Trial, decide

SPEC = PolicySpec()
STEADY = Observations(calendar_refit="", data_age_sessions=0, model_age_sessions=100)
DECAYED = LossSignal(alarm_sessions=2, rising_sessions=12, worse_than=("ewma at horizon 1",))
LONG = LossSignal(alarm_sessions=50, rising_sessions=60)
LOST = Trial(sessions=30, previous_gain=0.02, p=0.01)


@pytest.mark.parametrize(
    ("observed", "action", "rule", "alerts"),
    [
        (STEADY, "keep", "steady", ()),
        (replace(STEADY, data_age_sessions=2), "keep", "steady", ()),
        (replace(STEADY, data_age_sessions=3), "alarm", "old data", ()),
        (replace(STEADY, calendar_refit="the fold of 2024 has begun"), "refit", "calendar", ()),
        (replace(STEADY, model_age_sessions=400), "alarm", "old model", ()),
        (replace(STEADY, loss=DECAYED), "alarm", "decayed", ("decayed",)),
        (replace(STEADY, loss=replace(DECAYED, alarm_sessions=None)), "alarm", "decayed", ("decayed",)),
        (replace(STEADY, loss=LONG), "refit", "decayed, refit", ("decayed",)),
        (replace(STEADY, loss=replace(LONG, rising_sessions=59)), "alarm", "decayed", ("decayed",)),
        (replace(STEADY, loss=LONG, sessions_since_refit=59), "alarm", "decayed", ("decayed",)),
        (replace(STEADY, loss=LONG, sessions_since_refit=60), "refit", "decayed, refit", ("decayed",)),
        (replace(STEADY, loss=DECAYED, trial=LOST), "roll back", "trial lost", ("decayed",)),
        (replace(STEADY, loss=DECAYED, trial=replace(LOST, p=0.06)), "alarm", "decayed", ("decayed",)),
        (replace(STEADY, loss=DECAYED, trial=replace(LOST, sessions=61)), "alarm", "decayed", ("decayed",)),
        (replace(STEADY, trial=LOST), "keep", "steady", ()),
        (replace(STEADY, coverage="the 80 % band holds 60 %"), "alarm", "coverage", ("drift",)),
        (replace(STEADY, drifted=("volatility_20",)), "keep", "drift", ("drift",)),
    ],
)
def test_each_rule(observed: Observations, action: str, rule: str, alerts: tuple[str, ...]) -> None:
    found = decide(observed, SPEC)
    assert (found.action, found.rule, found.alerts) == (action, rule, alerts)


def test_the_first_rule_that_applies_decides() -> None:
    """Each observation more takes a rule before the one that decided."""
    steps = [
        ({"drifted": ("volatility_20",)}, "drift"),
        ({"coverage": "the 80 % band holds 60 %"}, "coverage"),
        ({"model_age_sessions": 500}, "old model"),
        ({"loss": DECAYED}, "decayed"),
        ({"calendar_refit": "the fold of 2024 has begun"}, "calendar"),
        ({"trial": LOST}, "trial lost"),
        ({"data_age_sessions": 9}, "old data"),
    ]
    observed = STEADY
    for values, rule in steps:
        observed = replace(observed, **values)
        assert decide(observed, SPEC).rule == rule
    assert decide(observed, SPEC).alerts == ("decayed", "drift")


def test_the_reason_says_what_was_found_and_what_follows() -> None:
    reason = decide(replace(STEADY, loss=DECAYED), SPEC).reason
    assert reason == (
        "worse than ewma at horizon 1 and its loss has been larger than promised for 12 sessions; a refit is expected "
        "to gain 48 sessions from now"
    )
    tried = decide(replace(STEADY, loss=DECAYED, sessions_since_refit=1), SPEC).reason
    assert tried.endswith("it was refitted 1 session ago")
    back = decide(replace(STEADY, loss=DECAYED, trial=LOST), SPEC)
    assert (
        "the version before would have lost 2.0 % less in the 30 sessions since the takeover (p = 0.010)" in back.reason
    )
    assert back.numbers["previous_gain"] == 0.02
    assert "sessions_since_refit" not in back.numbers


counts = st.integers(0, 600)
signals = st.builds(
    LossSignal, st.none() | counts, st.none() | counts, st.sampled_from([(), ("ewma",), ("ewma", "linear")])
)
observations = st.builds(
    Observations,
    st.sampled_from(["", "the fold has begun"]),
    counts,
    counts,
    signals,
    st.sampled_from(["", "too narrow"]),
    st.sampled_from([(), ("x",)]),
    st.none() | st.builds(Trial, counts, st.floats(-0.1, 0.1), st.floats(0, 1)),
    st.none() | counts,
)


@given(observations)
def test_what_is_steady_is_left_alone_and_nothing_is_decided_without_a_reason(observed: Observations) -> None:
    found = decide(observed, SPEC)
    assert found == decide(observed, SPEC)
    assert found.reason
    if not observed.loss.decayed:
        assert found.action != "roll back"
        assert found.action != "refit" or observed.calendar_refit
    if found.action == "roll back":
        assert observed.trial is not None
        assert observed.trial.p <= LEVEL
