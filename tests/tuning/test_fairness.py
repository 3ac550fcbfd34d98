"""What a search refuses, because the rows that choose could not judge it like any other."""

import pytest

from pipeline.errors import UsageError
from pipeline.experiment import Experiment
from pipeline.forecasters.recurrent.specification import RecurrentSpec, TrainingSpec
from pipeline.tuning.choosing import refuse_unfair


@pytest.mark.parametrize("kind", ["quantiles", "student_t", "mixture"])
def test_a_distribution_of_its_own_is_judged(kind: str) -> None:
    refuse_unfair(Experiment(network=RecurrentSpec.model_validate({"head": {"kind": kind}})))


@pytest.mark.parametrize(
    ("experiment", "told"),
    [
        (Experiment(network=RecurrentSpec.model_validate({"head": {"kind": "point"}})), r'head\.kind = "point"'),
        (
            Experiment(network=RecurrentSpec.model_validate({"head": {"kind": "direction"}})),
            r'head\.kind = "direction"',
        ),
        (Experiment(network=RecurrentSpec(scope="ticker")), r'network\.scope = "ticker"'),
        (Experiment(training=TrainingSpec(warm_start=True)), r"training\.warm_start = true"),
    ],
)
def test_what_would_be_judged_on_its_own_rows_is_refused(experiment: Experiment, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        refuse_unfair(experiment)
