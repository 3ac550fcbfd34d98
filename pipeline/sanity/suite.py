"""The suite: every part runs the pipeline of every run on prices whose truth is known, with small networks."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np

from pipeline.audit.auditing import audit
from pipeline.audit.run import Run
from pipeline.audit.specification import AuditSpec
from pipeline.audit.steps import Setting, Steps
from pipeline.dataset.folds import FoldSpec
from pipeline.errors import UsageError
from pipeline.experiment import Experiment
from pipeline.forecasters.recurrent.specification import RecurrentSpec, TrainingSpec
from pipeline.forecasting.backtest import Backtest
from pipeline.market.door import Terms
from pipeline.market.held import HeldPrices
from pipeline.market.sample import open_sample
from pipeline.market.specification import Process, SyntheticSource
from pipeline.market.synthetic import open_synthetic
from pipeline.sanity.check import Check
from pipeline.sanity.checks import (
    caught_check,
    has_skill,
    honest_check,
    impossible_check,
    median_informs,
    nothing_checks,
    planted_checks,
    sine_check,
)
from pipeline.sanity.leaks import LEAKING, PLANTED
from pipeline.sanity.optimum import Reached, best_quantiles, reached
from pipeline.sanity.shuffling import shuffled_returns

FEWEST_SEEDS = 5
LEAKING_SEEDS = 3
LONG_IN_THE_SAMPLE = ("AAPL", "GOOG", "IBM", "MSFT")
NOW = datetime(2025, 1, 1, tzinfo=UTC)
"""After the last session of all prices that are made here."""

SIGNAL = Experiment(
    horizons=1,
    network=RecurrentSpec(hidden_size=16),
    training=TrainingSpec(
        min_steps=150,
        max_steps=150,
        validation_checks=6,
        patience_checks=6,
        batch_chunks=16,
        chunk_sessions=100,
        learning_rate=1e-2,
    ),
    folds=FoldSpec(train_end="2021-12-31", valid_end="2022-12-30"),
    seeds=1,
    device="cpu",
    workers=1,
)
"""What learns a planted signal in a moment."""

NOISE = SIGNAL.model_copy(
    update={
        "network": RecurrentSpec(hidden_size=8),
        "training": SIGNAL.training.model_copy(
            update={"min_steps": 60, "max_steps": 60, "batch_chunks": 8, "chunk_sessions": 80}
        ),
    }
)
"""What is fitted often, on prices that hold nothing."""

AUDITED = NOISE.model_copy(update={"horizons": 2, "folds": FoldSpec(refit_months=9, validation_months=3)})
AUDIT = AuditSpec(origins=4, others=1, training_steps=8)

Part = Callable[[], tuple[Check, ...]]


@dataclass(frozen=True)
class Prices:
    """Prices and how they are learned; `source` tells how they were made, where that is known."""

    held: HeldPrices
    experiment: Experiment
    source: SyntheticSource | None = None


def suite(seed: int = 0, seeds: int = 20, steps: Steps | None = None) -> Mapping[str, Part]:
    """Return name -> part of the suite, to be run one by one; raises UsageError for too few seeds.

    `seeds` is how often nothing has to be found, with the seeds from `seed` on. `steps` are the pipeline's, or with
    some of one's own in their place.
    """
    if seeds < FEWEST_SEEDS:
        raise UsageError(f"found {seeds} seeds, expected {FEWEST_SEEDS} or more: of fewer no rate can be told")
    steps, several = steps or Steps(), range(seed, seed + seeds)
    return {
        "sine": lambda: (sine_check(signal_result(planted("sine", seed), steps)[1]),),
        "random walk": lambda: nothing("random walk", [random_walk(one) for one in several], steps),
        "shuffled returns": lambda: nothing("shuffled returns", [shuffled(one) for one in several], steps),
        "planted return": lambda: planted_return(seed, steps),
        "planted volatility": lambda: planted_volatility(seed, steps),
        "leak": lambda: leaks(seed, steps),
    }


def planted(process: Process, seed: int, strength: float | None = None) -> Prices:
    """Return prices with a signal: eight tickers, 2,000 sessions."""
    source = SyntheticSource(process=process, sessions=2000, tickers=8, seed=seed, strength=strength)
    return Prices(open_synthetic(source), SIGNAL, source)


def random_walk(seed: int) -> Prices:
    """Return prices without any signal: four tickers, 1,500 sessions."""
    source = SyntheticSource(process="random_walk", sessions=1500, tickers=4, seed=seed)
    return Prices(open_synthetic(source), NOISE.model_copy(update={"seed": seed}), source)


def shuffled(seed: int) -> Prices:
    """Return the bundled sample's days in random order."""
    folds = FoldSpec(train_end="2010-06-30", valid_end="2011-02-28")
    experiment = NOISE.model_copy(update={"folds": folds, "seed": seed})
    return Prices(shuffled_returns(open_sample(), LONG_IN_THE_SAMPLE, seed), experiment)


def setting_of(prices: Prices) -> Setting:
    """Return what a run on these prices is given beside them."""
    held, experiment = prices.held, prices.experiment
    terms = Terms(held.returns_from, held.has_actions, NOW, experiment.minimum_sessions)
    return Setting(experiment, held.tickers(), terms, "XNYS")


def backtest_of(prices: Prices, steps: Steps) -> Backtest:
    """Return the backtest of the last fold."""
    run = Run(prices.held, steps, setting_of(prices))
    return run.backtest(run.folds[-1])


def signal_result(prices: Prices, steps: Steps) -> tuple[Backtest, Reached]:
    """Return the backtest on prices whose truth is known, and what the network reached beside it."""
    run = Run(prices.held, steps, setting_of(prices))
    backtest = run.backtest(run.folds[-1])
    if prices.source is None:
        raise UsageError("found prices whose best forecast is not known, expected those of a synthetic source")
    every = np.sort(prices.held.rows(prices.held.tickers()[0])["session"].to_numpy().astype("datetime64[D]"))
    return backtest, reached(backtest, best_quantiles(prices.source, every, backtest.sessions))


def nothing(name: str, several: list[Prices], steps: Steps) -> tuple[Check, ...]:
    """Return the checks that nothing is found in prices that hold nothing."""
    backtests = [backtest_of(prices, steps) for prices in several]
    return nothing_checks(name, [has_skill(one) for one in backtests], [median_informs(one) for one in backtests])


def planted_return(seed: int, steps: Steps) -> tuple[Check, ...]:
    """Return the checks on an autoregression with coefficient 0.4."""
    backtest, result = signal_result(planted("planted", seed, 0.4), steps)
    found = {"skill": has_skill(backtest), "direction": median_informs(backtest)}
    return planted_checks("planted return", result, found)


def planted_volatility(seed: int, steps: Steps) -> tuple[Check, ...]:
    """Return the checks on a GARCH(1, 1)."""
    backtest, result = signal_result(planted("planted_garch", seed), steps)
    return planted_checks("planted volatility", result, {"skill": has_skill(backtest)})


def leaks(seed: int, steps: Steps) -> tuple[Check, ...]:
    """Return the checks that the audit passes the pipeline and catches planted leaks, and that scores show one too."""
    source = SyntheticSource(process="random_walk", sessions=620, tickers=3, seed=seed)
    prices = Prices(open_synthetic(source), AUDITED.model_copy(update={"seed": seed}))
    setting, spec = setting_of(prices), AUDIT.model_copy(update={"seed": seed})
    verdicts = {stage: audit(prices.held, setting, spec, leaking) for stage, leaking in PLANTED.items()}
    leaking = replace(steps, features=LEAKING.features)
    seen = [has_skill(backtest_of(random_walk(one), leaking)) for one in range(seed, seed + LEAKING_SEEDS)]
    return (
        honest_check(audit(prices.held, setting, spec, steps)),
        caught_check(verdicts),
        impossible_check(seen),
    )
