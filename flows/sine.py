"""The sine sanity check: a sine with noise through the very same code path must be learned to near its noise floor."""

from dataclasses import dataclass

from pipeline.errors import SanityError
from pipeline.evaluation.backtest import NETWORK
from pipeline.evaluation.scores import POOLED
from pipeline.experiment import Experiment
from pipeline.market.specification import SyntheticSource
from pipeline.operation.outcome import Outcome

MARK = 1.10
"""Largest one-step RMSE of the median, in units of the noise. The best forecast possible has 1.00, the network
1.03 to 1.04, the last close 1.73, and linear quantile regression 1.31."""


@dataclass(frozen=True)
class SineResult:
    """The one-step RMSE of the network's median beside the noise floor, in log return."""

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


def sine_experiment(seed: int, base: Experiment) -> Experiment:
    """Return the experiment of the check: eight sines of 1,500 sessions, one seed, and the base's way of training."""
    source = SyntheticSource(process="sine", seed=seed)
    kept = {name: getattr(base, name) for name in ("network", "training", "device", "workers")}
    return Experiment(source=source, seed=seed, seeds=1, **kept)


def measured(outcome: Outcome) -> SineResult:
    """Return the network's pooled result at horizon 1; raises SanityError where the outcome has no sine behind it."""
    source, evaluation = outcome.experiment.source, outcome.evaluation
    if not isinstance(source, SyntheticSource) or evaluation is None:
        raise SanityError(f"found an outcome of source {source.kind}, expected a backtested synthetic sine")
    scores = evaluation.scores.set_index(["horizon", "forecaster", "ticker"])["rmse_return"]
    return SineResult(float(scores.loc[[(1, NETWORK, POOLED)]].iloc[0]), source.noise)


def refuse_missed_mark(outcome: Outcome) -> None:
    """Raise SanityError when the sine was not learned."""
    refuse(measured(outcome))


def refuse(result: SineResult) -> None:
    """Raise SanityError when the ratio is above the mark."""
    if not result.ratio <= MARK:  # NaN is a miss as well
        raise SanityError(f"{result.sentence} It was missed: do not trust this installation's forecasts")
