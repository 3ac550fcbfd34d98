"""The experiment and the warnings of a run on each calendar."""

from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from pipeline.experiment import Experiment
from pipeline.market.bars import Listing
from pipeline.market.specification import SyntheticSource
from pipeline.market.universe import MembershipPeriod, Universe
from pipeline.workflow.calendar_bars import by_calendar
from pipeline.workflow.run import on_calendar, warnings_of

from .builders import evaluation_of, loaded_of

pytestmark = [pytest.mark.timeout(300)]


def test_each_calendar_warns_that_tickers_of_today_are_tested_on_the_past() -> None:
    first, second = by_calendar(loaded_of("AAA", "BBB", "TCS.BO"))
    real = Experiment(device="cpu")
    long = evaluation_of("", origins=420)
    (warning,) = warnings_of(first, real, long)
    assert warning.startswith("These 2 tickers were chosen today and are tested on 2023 to 2024")
    assert warnings_of(second, real, long)[0].startswith("This ticker was chosen today")
    assert warnings_of(first, real, evaluation_of("", origins=60)) == ()
    dated = Universe("mine", ("AAA",), (MembershipPeriod("AAA", date(2020, 1, 2), None),))
    assert warnings_of(replace(first, universe=dated), real, long) == ()
    made_up = Experiment(source=SyntheticSource(process="random_walk"), device="cpu")
    assert warnings_of(first, made_up, long) == ()


def test_the_experiment_on_a_calendar_names_its_tickers() -> None:
    (bars,) = by_calendar(loaded_of("AAA", "BBB"))
    narrowed = on_calendar(Experiment(universe=Path("list.txt"), device="cpu"), bars)
    assert (narrowed.tickers, narrowed.universe) == (("AAA", "BBB"), None)
    assert Listing("AAA", "XNYS", "USD") in bars.bars.listings
