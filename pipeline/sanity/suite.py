"""The suite: each part runs the pipeline on a case with a known answer, or on a pipeline with a planted leak."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from pipeline.audit.auditing import audit_source
from pipeline.audit.origins import AuditSpec
from pipeline.audit.steps import PipelineRun, RunInputs, Steps, default_frames
from pipeline.dataset.folds import FoldSpec
from pipeline.dataset.frames import Frames
from pipeline.errors import UsageError
from pipeline.forecasters.forecaster import Fitted
from pipeline.forecasting.backtest import Backtest
from pipeline.market.bars import Bars
from pipeline.market.specification import SyntheticSource
from pipeline.market.synthetic import open_synthetic
from pipeline.market.validation.validate import ValidationTerms
from pipeline.sanity.cases import NOISE_EXPERIMENT, NOW, SanityCase, random_walk_case, shuffled_case, signal_case
from pipeline.sanity.checks import (
    OptimumComparison,
    SanityCheck,
    compare_with_optimum,
    has_skill,
    leak_in_scores_check,
    median_informs,
    no_leak_check,
    no_signal_checks,
    optimal_quantiles,
    planted_checks,
    planted_leaks_check,
    sine_check,
)
from pipeline.training.fits import fit
from pipeline.training.jobs import FitJob

MIN_SEEDS = 5
N_LEAKING_SEEDS = 3
AUDIT_SPEC = AuditSpec(origins=4, others=1, training_steps=8)
AUDIT_EXPERIMENT = NOISE_EXPERIMENT.model_copy(
    update={"horizons": 2, "folds": FoldSpec(refit_months=9, validation_months=3)}
)

SuitePart = Callable[[], tuple[SanityCheck, ...]]


# --- Planted leaks ---


def outcome_as_feature(bars: Bars, other_bars: Sequence[Bars], inputs: RunInputs) -> Frames:
    """Return frames whose first feature is the next session's return."""
    frames = default_frames(bars, other_bars, inputs)
    features = np.array(frames.features)
    features[..., 0] = np.where(frames.usable, np.nan_to_num(frames.future_return[..., 0]), features[..., 0])
    return replace(frames, features=features)


def scaled_on_everything(job: FitJob, frames: Frames, former: Fitted | None) -> Fitted:
    """Return a fit on features that were standardised over the whole history, test included."""
    rows = frames.features[frames.usable]
    scaled = (frames.features - rows.mean(axis=0)) / np.maximum(rows.std(axis=0), np.float32(1e-12))
    return fit(job, replace(frames, features=scaled.astype(np.float32)), former)


def stopped_on_test(job: FitJob, frames: Frames, former: Fitted | None) -> Fitted:
    """Return a fit whose step was chosen on the test range."""
    return fit(replace(job, fold=replace(job.fold, validation=job.fold.test)), frames, former)


LEAKING_STEPS = Steps(features=outcome_as_feature)
"""Steps with a leak that gives a network more skill than is possible."""

PLANTED_LEAKS: Mapping[str, Steps] = {
    "features": LEAKING_STEPS,
    "scale": Steps(fit=scaled_on_everything),
    "early stop": Steps(fit=stopped_on_test),
}
"""The stage of each leak -> the steps with this leak."""


# --- The parts of the suite ---


def suite(seed: int = 0, seeds: int = 20, steps: Steps | None = None) -> Mapping[str, SuitePart]:
    """Return name -> part of the suite, to be run one by one; raises UsageError for too few seeds.

    `seeds` is the number of cases of each kind of data without signal, with seeds from `seed` on. `steps` are those of
    the pipeline by default.
    """
    if seeds < MIN_SEEDS:
        raise UsageError(f"found {seeds} seeds, expected {MIN_SEEDS} or more: fewer do not show a rate")
    steps, numbers = steps or Steps(), range(seed, seed + seeds)
    return {
        "sine": lambda: (sine_check(signal_result(signal_case("sine", seed), steps)[1]),),
        "random walk": lambda: check_no_signal("random walk", [random_walk_case(number) for number in numbers], steps),
        "shuffled returns": lambda: check_no_signal(
            "shuffled returns", [shuffled_case(number) for number in numbers], steps
        ),
        "planted return": lambda: check_planted_return(seed, steps),
        "planted volatility": lambda: check_planted_volatility(seed, steps),
        "leak": lambda: check_leaks(seed, steps),
    }


def run_inputs(case: SanityCase) -> RunInputs:
    """Return the inputs of a run on a case."""
    prices, experiment = case.prices, case.experiment
    terms = ValidationTerms(prices.returns_from, prices.has_actions, NOW, experiment.minimum_sessions)
    return RunInputs(experiment, prices.tickers(), terms, "XNYS")


def last_fold_backtest(case: SanityCase, steps: Steps) -> Backtest:
    """Return the backtest of the last fold."""
    run = PipelineRun(case.prices, steps, run_inputs(case))
    return run.backtest(run.folds[-1])


def signal_result(case: SanityCase, steps: Steps) -> tuple[Backtest, OptimumComparison]:
    """Return the backtest on prices of a known process, and the network's comparison with the optimal forecast."""
    backtest = last_fold_backtest(case, steps)
    if case.source is None:
        raise UsageError("found prices whose best forecast is not known, expected those of a synthetic source")
    sessions = np.sort(case.prices.rows(case.prices.tickers()[0])["session"].to_numpy().astype("datetime64[D]"))
    return backtest, compare_with_optimum(backtest, optimal_quantiles(case.source, sessions, backtest.sessions))


def check_no_signal(name: str, cases: Sequence[SanityCase], steps: Steps) -> tuple[SanityCheck, ...]:
    """Return the checks that no signal is found in data without signal."""
    backtests = [last_fold_backtest(case, steps) for case in cases]
    return no_signal_checks(name, [*map(has_skill, backtests)], [*map(median_informs, backtests)])


def check_planted_return(seed: int, steps: Steps) -> tuple[SanityCheck, ...]:
    """Return the checks on an autoregression with coefficient 0.4."""
    backtest, result = signal_result(signal_case("planted", seed, 0.4), steps)
    detected = {"skill": has_skill(backtest), "direction": median_informs(backtest)}
    return planted_checks("planted return", result, detected)


def check_planted_volatility(seed: int, steps: Steps) -> tuple[SanityCheck, ...]:
    """Return the checks on a GARCH(1, 1)."""
    backtest, result = signal_result(signal_case("planted_garch", seed), steps)
    return planted_checks("planted volatility", result, {"skill": has_skill(backtest)})


def check_leaks(seed: int, steps: Steps) -> tuple[SanityCheck, ...]:
    """Return the checks that the audit passes the pipeline and detects planted leaks, and that scores show a leak."""
    source = SyntheticSource(process="random_walk", sessions=620, tickers=3, seed=seed)
    case = SanityCase(open_synthetic(source), AUDIT_EXPERIMENT.model_copy(update={"seed": seed}))
    inputs, spec = run_inputs(case), AUDIT_SPEC.model_copy(update={"seed": seed})
    results = {stage: audit_source(case.prices, inputs, spec, leaking) for stage, leaking in PLANTED_LEAKS.items()}
    leaking = replace(steps, features=LEAKING_STEPS.features)
    numbers = range(seed, seed + N_LEAKING_SEEDS)
    skilled = [has_skill(last_fold_backtest(random_walk_case(number), leaking)) for number in numbers]
    return (
        no_leak_check(audit_source(case.prices, inputs, spec, steps)),
        planted_leaks_check(results),
        leak_in_scores_check(skilled),
    )
