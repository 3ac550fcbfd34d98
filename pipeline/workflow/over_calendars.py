"""A run over several exchange calendars: each is recorded by itself, and one that fails stops no other."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from pipeline.errors import NothingUsableError
from pipeline.experiment import Experiment
from pipeline.market.bars import Exclusion
from pipeline.operation.version_files import ModelVersion
from pipeline.tracking.runs import describe_run, start_run
from pipeline.wording import exclusion_sentence
from pipeline.workflow.calendar_bars import CalendarBars
from pipeline.workflow.progress import StageTimer
from pipeline.workflow.recording import RecordedResult, Recording, recorded_below
from pipeline.workflow.run_context import RunContext

Work = Callable[[RunContext, Recording, CalendarBars, Experiment], RecordedResult]
"""What a run does on each calendar, with the experiment as it is there."""


@dataclass(frozen=True)
class RecordedRun:
    """A finished run: a result per calendar, the tickers of calendars that failed, and the seconds of shared stages.

    `version` is what it published, None where it was not to publish anything.
    """

    results: tuple[RecordedResult, ...]
    excluded: tuple[Exclusion, ...]
    seconds: Mapping[str, float]
    version: ModelVersion | None = None


def over_calendars(
    context: RunContext,
    recording: Recording,
    calendars: Sequence[CalendarBars],
    experiments: Mapping[str, Experiment],
    work: Work,
    requested: Collection[str],
) -> RecordedRun:
    """Return the results of the run; of several calendars, each is recorded as a child of the run.

    `experiments` are by calendar, `requested` the tickers of the run (none: all): others are not
    reported. Raises NothingUsableError where nothing can be done on any calendar.
    """
    if len(calendars) == 1:
        bars = calendars[0]
        return RecordedRun((work(context, recording, bars, experiments[bars.calendar]),), (), {})
    results: list[RecordedResult] = []
    excluded: list[Exclusion] = []
    for bars in calendars:
        experiment = experiments[bars.calendar]
        context.progress.message(f"Calendar {bars.calendar}: {', '.join(bars.bars.tickers)}")
        try:
            results.append(_on_one(context, recording, bars, experiment, work))
        except NothingUsableError as error:
            excluded += _excluded(bars, error, requested)
    if not results:
        reasons = "; ".join(map(str, excluded))
        raise NothingUsableError(f"nothing could be done on any calendar of this run: {reasons}", excluded)
    _describe(recording, results, excluded)
    return RecordedRun(tuple(results), tuple(excluded), dict(context.timer.seconds))


def _on_one(
    context: RunContext, recording: Recording, bars: CalendarBars, experiment: Experiment, work: Work
) -> RecordedResult:
    """Return the result on one calendar of several, with a timer, a report folder and an MLflow run of its own."""
    out = context.out / bars.calendar.replace("/", "-") if context.out else None
    start = partial(start_run, kind=context.kind, experiment=experiment)
    with recorded_below(recording, bars.calendar, start) as child:
        return work(replace(context, timer=StageTimer(context.progress), out=out), child, bars, experiment)


def _excluded(bars: CalendarBars, error: NothingUsableError, requested: Collection[str]) -> list[Exclusion]:
    """Return the calendar's tickers, the requested ones (none: all), each with its own reason or the calendar's."""
    reported = [out for out in error.excluded if isinstance(out, Exclusion)]
    by_ticker = {out.ticker: out for out in (*reported, *bars.excluded)}
    tickers = dict.fromkeys((*by_ticker, *bars.bars.tickers))
    return [
        by_ticker.get(ticker, Exclusion(ticker, str(error)))
        for ticker in tickers
        if ticker in requested or not requested
    ]


def _describe(recording: Recording, results: Sequence[RecordedResult], excluded: Sequence[Exclusion]) -> None:
    calendars = [recorded.result.calendar for recorded in results]
    sentences = [
        recorded.result.evaluation.verdict.sentence if recorded.result.evaluation else "" for recorded in results
    ]
    verdicts = [f"- **{calendar}**: {sentence}" for calendar, sentence in zip(calendars, sentences, strict=True)]
    reasons = [f"- {exclusion_sentence(f'**{out.ticker}**', out.reason)}" for out in excluded]
    mismatches = [f"**Wrong calendar?** {it}\n" for recorded in results for it in recorded.result.calendar_mismatches]
    note = "\n".join([*mismatches, "One child run per exchange calendar:", "", *verdicts, *reasons])
    is_partial = bool(excluded) or any(recorded.result.status == "partial" for recorded in results)
    tags = {"tapecast.status": "partial" if is_partial else "ok", "tapecast.calendar": " ".join(calendars)}
    describe_run(recording.record, note, tags)
