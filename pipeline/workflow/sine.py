"""The sine check: a sine with noise must be learned by the code of every run to near its noise floor."""

from dataclasses import dataclass

from pipeline.errors import SanityError
from pipeline.evaluation.scores import POOLED
from pipeline.experiment import Experiment
from pipeline.forecasting.forecasts import NETWORK
from pipeline.market.specification import SyntheticSource
from pipeline.operation.result import CalendarResult
from pipeline.workflow.over_calendars import RecordedRun
from pipeline.workflow.run import RunPlan, run
from pipeline.workflow.run_context import RunContext

MARK = 1.10
"""Largest one-step RMSE of the median, in units of the noise. The best forecast possible has 1.00, the network
1.03 to 1.04, the last close 1.73, and linear quantile regression 1.31."""


@dataclass(frozen=True)
class SineResult:
    """The one-step RMSE of the network's median and the noise floor, in log return."""

    rmse_return: float
    noise: float

    @property
    def ratio(self) -> float:
        """RMSE in units of the noise."""
        return self.rmse_return / self.noise

    @property
    def sentence(self) -> str:
        """The result in words."""
        found = f"one-step RMSE {self.rmse_return:.5f} is {self.ratio:.3f} times the noise floor {self.noise:.5f}"
        return f"Sine check: {found}; the mark is {MARK:.2f}."


def sine(context: RunContext, seed: int, base: Experiment) -> tuple[RecordedRun, SineResult]:
    """Return the backtest of a sine, with its measure; raises SanityError where the mark is missed.

    Of the experiment it takes the network, its training and the device, and trains by its largest number of steps.
    """
    plan = RunPlan(live=False, check=lambda result: refuse_missed_mark(measured(result)))
    recorded = run(context, sine_experiment(seed, base), plan)
    return recorded, measured(recorded.results[0].result)


def sine_experiment(seed: int, base: Experiment) -> Experiment:
    """Return the experiment of the check: eight sines of 1,500 sessions, one seed, trained by all steps of the base.

    A panel of this size is given few steps otherwise: enough for volatility, not for a mean that can be known.
    """
    source = SyntheticSource(process="sine", seed=seed)
    training = base.training.model_copy(update={"min_steps": base.training.max_steps})
    kept = {name: getattr(base, name) for name in ("network", "device", "workers")}
    return Experiment(source=source, seed=seed, seeds=1, training=training, **kept)


def measured(result: CalendarResult) -> SineResult:
    """Return the network's pooled result at horizon 1; raises SanityError where it is not of a backtested sine."""
    source, evaluation = result.experiment.source, result.evaluation
    if not isinstance(source, SyntheticSource) or evaluation is None:
        raise SanityError(f"found a result of source {source.kind}, expected a backtested synthetic sine")
    scores = evaluation.scores.set_index(["horizon", "forecaster", "ticker"])["rmse_return"]
    return SineResult(float(scores.loc[[(1, NETWORK, POOLED)]].iloc[0]), source.noise)


def refuse_missed_mark(result: SineResult) -> None:
    """Raise SanityError when the ratio is above the mark, or not a number."""
    if not result.ratio <= MARK:
        raise SanityError(f"{result.sentence} It was missed: do not trust this installation's forecasts")
