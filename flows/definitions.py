"""The flows, each a few lines around a use case; what they are run by, Prefect or nothing, is an argument."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import AwareDatetime

from flows import alerts, artifacts
from flows.engine import Engine
from flows.flow_runs import prune_on_named_server
from pipeline.audit.origins import AuditSpec
from pipeline.audit.result import AuditResult
from pipeline.experiment import Experiment
from pipeline.market.specification import FilesSource, SourceSpec, YahooSource
from pipeline.operation.lifetimes import Lifetimes
from pipeline.operation.model import model_name
from pipeline.sanity.checks import SanityCheck
from pipeline.settings import Settings
from pipeline.tracking.descriptions import RunKind
from pipeline.tuning.trial import SearchSpec
from pipeline.tutorials.ohlc import OhlcSpec
from pipeline.tutorials.run import TutorialResult
from pipeline.workflow import checks, tutorials
from pipeline.workflow.alerts import MissingResult, daily_alerts
from pipeline.workflow.alerts import missing as look_for_missing
from pipeline.workflow.daily import Announce, DailyPlan
from pipeline.workflow.daily import daily as run_daily
from pipeline.workflow.daily_result import DailyResult
from pipeline.workflow.forecast import forecast as forecast_from_model
from pipeline.workflow.ingest import IMPORTS, IngestResult
from pipeline.workflow.ingest import ingest as ingest_prices
from pipeline.workflow.over_calendars import RecordedRun
from pipeline.workflow.progress import Progress
from pipeline.workflow.prune import prune as remove_expired
from pipeline.workflow.prune_result import PruneResult
from pipeline.workflow.publishing import PublishPlan
from pipeline.workflow.recording import RecordedResult
from pipeline.workflow.result import CalendarSummary, Result
from pipeline.workflow.run import RunPlan
from pipeline.workflow.run import run as run_experiment
from pipeline.workflow.run_context import RunContext, announce_nothing, new_context, utc_now
from pipeline.workflow.sine import sine as learn_sine
from pipeline.workflow.summaries import result_of, summary_of
from pipeline.workflow.tune import tune as search_settings
from pipeline.workflow.tune_result import TuneResult

DEFAULT_EXPERIMENT, DEFAULT_SEARCH, DEFAULT_AUDIT, DEFAULT_TERMS, FROM_YAHOO, DEFAULT_LIFETIMES = (
    Experiment(),
    SearchSpec(),
    AuditSpec(),
    OhlcSpec(),
    YahooSource(),
    Lifetimes(),
)


FlowsByName = dict[str, Callable[..., Any]]


@dataclass(frozen=True)
class Flows:
    """The flows, reporting to one progress."""

    run: Callable[..., Result]
    backtest: Callable[..., Result]
    forecast: Callable[..., Result]
    daily: Callable[..., DailyResult]
    missing: Callable[..., MissingResult]
    sine: Callable[..., Result]
    ingest: Callable[..., IngestResult]
    tune: Callable[..., TuneResult]
    audit: Callable[..., checks.AuditSummary]
    sanity: Callable[..., checks.SanitySummary]
    tutorial: Callable[..., tutorials.TutorialsSummary]
    prune: Callable[..., PruneResult]


def build_flows(
    progress: Progress,
    engine: Engine,
    show_checks: checks.ShowChecks | None = None,
    announce: Callable[[Any], None] = announce_nothing,
) -> Flows:
    """Return the flows with what receives their progress: the terminal, or the log of a deployment.

    `engine` says how Prefect takes part; `show_checks` receives the checks of the sanity suite even if it fails
    (default: the progress, as text). `announce` gets what a flow found before it is recorded, drawn or anything else:
    a DailyResult, of other flows a CalendarSummary.
    """
    return Flows(
        **_run_flows(progress, engine, announce),
        **_daily_flows(progress, engine, announce),
        **_data_flows(progress, engine),
        **_check_flows(progress, show_checks, engine),
    )


def _announcing(
    progress: Progress, engine: Engine, announce: Callable[[CalendarSummary], None], kind: RunKind, out: Path | None
) -> RunContext:
    """Return the context of a run that starts now, and announces its results as summaries."""
    new = new_context(kind, out, progress, engine.step)
    return replace(new, announce=lambda result: announce(summary_of(RecordedResult(result))))


def _run_flows(progress: Progress, engine: Engine, announce: Callable[[CalendarSummary], None]) -> FlowsByName:
    context = partial(_announcing, progress, engine, announce)

    def shown(recorded: RecordedRun) -> Result:
        """Return the result of a recorded run, after making its Prefect artifacts."""
        result = result_of(recorded)
        engine.show(artifacts.create_result_artifacts, result, recorded.results[0].result.experiment.source.kind)
        return result

    @engine.flow("run", "run {experiment.source.kind}")
    def run(
        experiment: Experiment = DEFAULT_EXPERIMENT,
        out: Path | None = None,
        publish: bool = False,
        model: str | None = None,
    ) -> Result:
        """Backtest network and combination against every baseline, then forecast the next sessions of every ticker.

        With `publish` the trained models are published as a version of `model` (empty: daily, of the sample and made
        prices theirs), for `forecast` to use; other names and calendars are unchanged.
        """
        plan = RunPlan(publish_as=PublishPlan(model or model_name(experiment.source)) if publish else None)
        return shown(run_experiment(context("run", out), experiment, plan))

    @engine.flow("backtest", "backtest {experiment.source.kind}")
    def backtest(experiment: Experiment = DEFAULT_EXPERIMENT, out: Path | None = None) -> Result:
        """Backtest network and combination against every baseline; nothing is forecast and no model is published."""
        return shown(run_experiment(context("backtest", out), experiment, RunPlan(live=False)))

    @engine.flow("forecast", "forecast")
    def forecast(
        tickers: tuple[str, ...] = (),
        source: SourceSpec | None = None,
        as_known: AwareDatetime | None = None,
        out: Path | None = None,
        model: str | None = None,
    ) -> Result:
        """Forecast from the champion of a published model, also tickers that it was not trained on."""
        return shown(forecast_from_model(context("forecast", out), tickers, source, as_known, model))

    @engine.flow("sine", "sine seed {seed}")
    def sine(seed: int = 0, experiment: Experiment = DEFAULT_EXPERIMENT, out: Path | None = None) -> Result:
        """Learn a sine with noise by the code of every run; fails when the stated mark is missed.

        Of the experiment it takes the network, its training and the device.
        """
        own = replace(context("sine", out), announce=announce_nothing)  # its sentence comes first
        recorded, measured = learn_sine(own, seed, experiment)
        return with_sentence(shown(recorded), measured.sentence)

    return {"run": run, "backtest": backtest, "forecast": forecast, "sine": sine}


def _daily_flows(progress: Progress, engine: Engine, announce: Announce) -> FlowsByName:
    context = partial(new_context, progress=progress, step=engine.step)

    def tell(result: DailyResult) -> None:
        """Raise the alerts of a daily run that is tried no more, and request the heartbeat's address."""
        engine.show(alerts.raise_alerts, daily_alerts(result))
        if warning := alerts.request_heartbeat(Settings().heartbeat_url):
            progress.message(warning)

    @engine.flow("daily", "daily {experiment.source.kind}", tell)
    def daily(
        experiment: Experiment = DEFAULT_EXPERIMENT,
        model: str | None = None,
        calendar: str | None = None,
        delay_minutes: int = 0,
        now: AwareDatetime | None = None,
    ) -> DailyResult:
        """Update, grade and forecast after a close, and issue the forecasts into the ledger; refit where it is due.

        `model` is the name of the model (empty: daily, of the sample and made prices theirs), `calendar` the exchange
        calendar to issue for (empty: all of the model's); a session that closed less than `delay_minutes` ago waits
        for the next run. `now` is the instant of the run (empty: the clock's), to rehearse days.
        """
        plan = DailyPlan(model, calendar, delay_minutes, announce)
        clock = utc_now if now is None else lambda: now
        result = run_daily(context("daily", clock=clock), experiment, plan)
        engine.show(artifacts.create_daily_artifacts, result)
        return result

    @engine.flow(
        "missing", "missing {model} {calendar}", lambda result: engine.show(alerts.raise_alerts, result.alerts)
    )
    def missing(
        model: str = "daily", calendar: str = "XNYS", grace_minutes: int = 360, now: AwareDatetime | None = None
    ) -> MissingResult:
        """Look for sessions of an exchange calendar that have closed and that nothing issued.

        A session is missing once it ended `grace_minutes` ago; `now` is the instant of the look (empty: the clock's).
        """
        result = look_for_missing(Settings(), model, calendar, now or utc_now(), timedelta(minutes=grace_minutes))
        progress.message(result.sentence)
        engine.show(artifacts.create_missing_artifact, result)
        return result

    return {"daily": daily, "missing": missing}


def _data_flows(progress: Progress, engine: Engine) -> FlowsByName:
    context = partial(new_context, progress=progress, step=engine.step)

    @engine.flow("ingest", "ingest {source.kind}")
    def ingest(
        tickers: tuple[str, ...] = (),
        universe: Path | None = None,
        source: YahooSource | FilesSource = FROM_YAHOO,
        collection: str = IMPORTS,
    ) -> IngestResult:
        """Bring the price store up to date: from Yahoo, or import files into the named collection.

        Without tickers or universe all that the store, or the files, hold.
        """
        result = ingest_prices(context("ingest"), tickers, universe, source, collection)
        engine.show(artifacts.create_ingest_artifacts, result)
        return result

    @engine.flow("tune", "tune {experiment.source.kind}")
    def tune(
        experiment: Experiment = DEFAULT_EXPERIMENT, search: SearchSpec = DEFAULT_SEARCH, out: Path | None = None
    ) -> TuneResult:
        """Search the settings of the network and its training on validation ranges alone.

        Trials are stored: the same search continues where it was stopped. The best experiment is written as a TOML
        file, `out` or tuned/STUDY.toml under TAPECAST_HOME.
        """
        result = search_settings(context("tune"), experiment, search, out)
        engine.show(artifacts.create_tune_artifacts, result)
        return result

    @engine.flow("prune", "prune")
    def prune(lifetimes: Lifetimes = DEFAULT_LIFETIMES, dry_run: bool = False) -> PruneResult:
        """Remove what has outlived its lifetime, keep what the ledger's last entries need, and say what was freed.

        With `dry_run` nothing is removed, and the result says what would be.
        """
        result = remove_expired(context("prune"), lifetimes, dry_run, prune_on_named_server)
        engine.show(artifacts.create_prune_artifacts, result)
        return result

    return {"ingest": ingest, "tune": tune, "prune": prune}


@dataclass(frozen=True)
class _ShowChecks:
    """Shows the tables of the checks while their flow runs, so that they are seen when it fails too."""

    progress: Progress
    show_checks: checks.ShowChecks | None
    engine: Engine

    def audit(self, results: Sequence[AuditResult], url: str | None) -> None:
        """Show the comparison of every stage."""
        self.engine.show(artifacts.create_audit_artifacts, results, url)
        for result in results:
            self.progress.message(checks.audit_text(result))

    def sanity(self, results: Sequence[SanityCheck], url: str | None) -> None:
        """Show every check with its range."""
        self.engine.show(artifacts.create_sanity_artifacts, results, url)
        if self.show_checks:
            self.show_checks(results, url)
        else:
            self.progress.message(checks.checks_text(results))

    def tutorials(self, results: Sequence[TutorialResult], url: str | None) -> None:
        """Show every tutorial with its mark."""
        self.engine.show(artifacts.create_tutorials_artifacts, results, url)
        self.progress.message(tutorials.tutorials_text(results))


def _check_flows(progress: Progress, show_checks: checks.ShowChecks | None, engine: Engine) -> FlowsByName:
    context = partial(new_context, progress=progress, step=engine.step)

    show = _ShowChecks(progress, show_checks, engine)

    @engine.flow("audit", "audit {experiment.source.kind}")
    def audit(experiment: Experiment = DEFAULT_EXPERIMENT, spec: AuditSpec = DEFAULT_AUDIT) -> checks.AuditSummary:
        """Look for leaks: replace everything after an origin, run all stages again, and compare their outputs.

        Fails, naming the first stage, where anything that was known at an origin changes with what comes later.
        """
        return checks.audit(context("audit"), experiment, spec, show.audit)

    @engine.flow("sanity", "sanity seed {seed}")
    def sanity(seed: int = 0, seeds: int = 20) -> checks.SanitySummary:
        """Run the sanity suite by the code of every run; fails when a number is out of its range.

        `seeds` is how often data without signal (random walks, shuffled returns) is examined.
        """
        return checks.sanity(context("sanity"), seed, seeds, show.sanity)

    @engine.flow("tutorial", "tutorial {name}")
    def tutorial(
        name: tutorials.TutorialChoice = "all", seed: int = 0, terms: OhlcSpec = DEFAULT_TERMS, out: Path | None = None
    ) -> tutorials.TutorialsSummary:
        """Fit the networks of one tutorial, or of all, by the code of every run; fails when a stated mark is missed.

        `terms` are those of the tutorial on Open, High, Low and Close.
        """
        return tutorials.run_tutorials(context("tutorial", out), name, seed, terms, show.tutorials)

    return {"audit": audit, "sanity": sanity, "tutorial": tutorial}


def with_sentence(result: Result, sentence: str) -> Result:
    """Return the result of a backtest with a sentence before its verdict."""
    first = result.calendars[0]
    backtest = first.backtest and replace(first.backtest, verdict=f"{sentence} {first.backtest.verdict}")
    return replace(result, calendars=(replace(first, backtest=backtest), *result.calendars[1:]))
