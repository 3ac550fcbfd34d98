"""A run over several markets: each is worked on and recorded by itself, and one that fails stops no other."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from flows.job import Finished, Job
from flows.markets import Market
from flows.recording import Recording
from flows.watching import Stopwatch
from pipeline.errors import NothingUsableError
from pipeline.experiment import Experiment
from pipeline.market.bars import LeftOut


@dataclass(frozen=True)
class Parts:
    """A finished run: a part per market, and the tickers of the markets that could not be worked on."""

    finished: tuple[Finished, ...]
    left_out: tuple[LeftOut, ...]
    seconds: Mapping[str, float]  # of the stages that the markets share


class Work(Protocol):
    """What a run does on each market."""

    @property
    def experiment(self) -> Experiment:
        """The experiment that it works on."""

    def narrowed(self, job: Job, market: Market) -> "Work":
        """Return the same work on one market of several."""

    def __call__(self, market: Market, recording: Recording) -> Finished:
        """Return the finished part of the run on one market."""


def over_markets(job: Job, recording: Recording, markets: Sequence[Market], work: Work) -> Parts:
    """Return the run's parts; of several markets, each is recorded as a child of the run.

    Raises NothingUsableError where no market could be worked on.
    """
    if len(markets) == 1:
        return Parts((work(markets[0], recording),), (), {})
    finished: list[Finished] = []
    left_out: list[LeftOut] = []
    for market in markets:
        job.clock.watch.says(f"Calendar {market.calendar}: {', '.join(market.bars.tickers)}")
        try:
            finished.append(_part(job, recording, market, work))
        except NothingUsableError as error:
            left_out += _not_worked_on(market, error, work.experiment.tickers)
    if not finished:
        reasons = "; ".join(f"{out.ticker}: {out.reason}" for out in left_out)
        raise NothingUsableError(f"no market of this run could be worked on: {reasons}", left_out)
    _describe(recording, finished, left_out)
    return Parts(tuple(finished), tuple(left_out), dict(job.clock.seconds))


def _part(job: Job, recording: Recording, market: Market, work: Work) -> Finished:
    """Return one market's part, with a clock, a report folder and an MLflow run of its own."""
    out = job.out / market.calendar.replace("/", "-") if job.out else None
    own_job = replace(job, clock=Stopwatch(job.clock.watch), out=out)
    own_work = work.narrowed(own_job, market)
    with Recording(job.settings, job.kind, own_work.experiment, recording.where().run_id) as own:
        return own_work(market, own)


def _not_worked_on(market: Market, error: NothingUsableError, asked: Collection[str]) -> list[LeftOut]:
    """Return the market's tickers, those asked for (none: all), each with its own reason or that of the market."""
    told = [out for out in error.left_out if isinstance(out, LeftOut)]
    known = {out.ticker: out for out in (*told, *market.left_out)}
    everyone = dict.fromkeys((*known, *market.bars.tickers))
    return [known.get(one, LeftOut(one, str(error))) for one in everyone if one in asked or not asked]


def _describe(recording: Recording, finished: Sequence[Finished], left_out: Sequence[LeftOut]) -> None:
    calendars = [one.outcome.calendar for one in finished]
    sentences = [one.outcome.evaluation.verdict.sentence if one.outcome.evaluation else "" for one in finished]
    said = [f"- **{calendar}**: {sentence}" for calendar, sentence in zip(calendars, sentences, strict=True)]
    gone = [f"- **{out.ticker}** was left out: {out.reason}" for out in left_out]
    note = "\n".join(["One child run per exchange calendar:", "", *said, *gone])
    partial = bool(left_out) or any(one.outcome.status == "partial" for one in finished)
    recording.describe(
        note, {"tapecast.status": "partial" if partial else "ok", "tapecast.calendar": " ".join(calendars)}
    )
