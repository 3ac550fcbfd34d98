"""The flows run, backtest, forecast and sine: the main job under Prefect, ad hoc or on a schedule."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from prefect import flow
from pydantic import AwareDatetime

from flows.artifacts import show_result
from flows.watching import LogWatch
from pipeline.experiment import Experiment
from pipeline.market.specification import SourceSpec
from pipeline.workflow.context import new_job
from pipeline.workflow.forecast import forecast_from_latest
from pipeline.workflow.over_calendars import Parts
from pipeline.workflow.progress import Watch
from pipeline.workflow.result import Summary, summarise
from pipeline.workflow.run import train_and_forecast
from pipeline.workflow.sine import measured, refuse_missed_mark, sine_experiment

DEFAULT = Experiment()


@dataclass(frozen=True)
class Flows:
    """The flows, under one watch."""

    run: Callable[..., Summary]
    backtest: Callable[..., Summary]
    forecast: Callable[..., Summary]
    sine: Callable[..., Summary]


def build_flows(watch: Watch) -> Flows:
    """Return the flows with someone watching: the terminal, or the log of a deployment."""

    @flow(name="run", flow_run_name="run {experiment.source.kind}", persist_result=False)
    def run(experiment: Experiment = DEFAULT, out: Path | None = None) -> Summary:
        """Backtest the network against every baseline, then forecast the next sessions of every ticker."""
        job = new_job("run", out, watch)
        return finished(train_and_forecast(job, experiment, live=True))

    @flow(name="backtest", flow_run_name="backtest {experiment.source.kind}", persist_result=False)
    def backtest(experiment: Experiment = DEFAULT, out: Path | None = None) -> Summary:
        """Backtest the network against every baseline; nothing is forecast and no model is published."""
        job = new_job("backtest", out, watch)
        return finished(train_and_forecast(job, experiment, live=False))

    @flow(name="forecast", flow_run_name="forecast", persist_result=False)
    def forecast(
        tickers: tuple[str, ...] = (),
        source: SourceSpec | None = None,
        as_known: AwareDatetime | None = None,
        out: Path | None = None,
    ) -> Summary:
        """Forecast from the latest fitted model, also tickers that it was not trained on."""
        job = new_job("forecast", out, watch)
        return finished(forecast_from_latest(job, tickers, source, as_known))

    @flow(name="sine", flow_run_name="sine seed {seed}", persist_result=False)
    def sine(seed: int = 0, experiment: Experiment = DEFAULT, out: Path | None = None) -> Summary:
        """Learn a sine with noise through the same code path; fails when the stated mark is missed.

        Of the experiment it takes the network, its training and the device.
        """
        job = new_job("sine", out, watch)
        parts = train_and_forecast(job, sine_experiment(seed, experiment), live=False, check=refuse_missed_mark)
        summary = finished(parts)
        return replace(summary, verdict=f"{measured(parts.finished[0].outcome).sentence} {summary.verdict}")

    return Flows(run, backtest, forecast, sine)


def finished(parts: Parts) -> Summary:
    """Return the summary of a finished job, and show it as Prefect artifacts."""
    summary = summarise(parts)
    show_result(summary, parts.finished[0].outcome.experiment.source.kind)
    return summary


# What prefect.yaml deploys.
_deployed = build_flows(LogWatch())
run, backtest, forecast, sine = _deployed.run, _deployed.backtest, _deployed.forecast, _deployed.sine
