"""The flows that prefect.yaml deploys: they report to the log of their run."""

from prefect import get_run_logger

from flows.definitions import build_flows
from flows.prefect_engine import DEPLOYED
from pipeline.training.jobs import FitResult
from pipeline.wording import duration


class LogProgress:
    """Reports progress to the log of the Prefect run."""

    def stage_started(self, stage: str) -> None:
        """Report nothing: the line at its end has the seconds."""

    def stage_finished(self, stage: str, seconds: float) -> None:
        """Log the stage with its seconds."""
        self.message(f"{stage}: {duration(seconds)}")

    def fit_finished(self, result: FitResult, done: int, total: int) -> None:  # noqa: ARG002  the count is enough
        """Log every tenth fit and the last."""
        if done % 10 == 0 or done == total:
            self.message(f"{done} of {total} fits")

    def message(self, text: str) -> None:
        """Log a sentence."""
        get_run_logger().info(text)


_deployed = build_flows(LogProgress(), DEPLOYED)
run, backtest, forecast, sine = _deployed.run, _deployed.backtest, _deployed.forecast, _deployed.sine
daily, missing = _deployed.daily, _deployed.missing
ingest, tune, tutorial = _deployed.ingest, _deployed.tune, _deployed.tutorial
audit, sanity = _deployed.audit, _deployed.sanity
prune = _deployed.prune
