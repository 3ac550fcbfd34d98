"""Recursive horizons: path by path against a slow twin, theory on planted processes, and an origin's own draws."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from pydantic import ValidationError

from pipeline.dataset.frames import Frames
from pipeline.dataset.sampled_paths import RETURN_FEATURES, origin_keys, path_levels, return_histories
from pipeline.dataset.scaling import fit_scaler
from pipeline.errors import UsageError
from pipeline.experiment import Experiment
from pipeline.forecasters.forecaster import LEVELS, MEDIAN, Fitted
from pipeline.forecasters.recurrent import sampling
from pipeline.forecasters.recurrent.network import RecurrentNetwork, new_network
from pipeline.forecasters.recurrent.reading import reader_of, spread_of
from pipeline.forecasters.recurrent.sampling import sampled_quantiles
from pipeline.forecasters.recurrent.specification import RecurrentSpec
from pipeline.forecasters.training_specification import TrainingSpec
from pipeline.training.fits import fit, quantiles
from tests.forecasters.recurrent.builders import first_job, largest_gap, same_arrays, seen_by
from tests.panels import TINY, changed, frames_from, random_market, random_rows, sessions_to

NAMES = tuple(RETURN_FEATURES)
HORIZONS = 4


def experiment_of(**network: Any) -> Experiment:
    spec = RecurrentSpec.model_validate(
        TINY.network.model_dump() | {"dropout": 0.0, "horizon_mode": "recursive", "sampled_paths": 16, **network}
    )
    return changed(TINY, network=spec, features=NAMES, horizons=HORIZONS)


@pytest.fixture(scope="module")
def frames() -> Frames:
    return frames_from(random_market(460, 3), experiment_of())


def fitted_for(frames: Frames, network: RecurrentNetwork, lookback: int = 160, **values: Any) -> Fitted:
    """A network as it stands, with the scaler of a fit and what its head learns of made outcomes."""
    job = first_job(frames, experiment_of())
    scaler = fit_scaler(seen_by(job, frames), job.fold.train)
    outcome = torch.from_numpy(np.random.default_rng(0).standard_t(5, (500, 1)).astype(np.float32))
    raw = 0.3 * torch.randn(500, 1, network.head.size, generator=torch.Generator().manual_seed(1))
    spread = network.head.learn(raw, outcome, torch.ones(500, 1, dtype=torch.bool))
    arrays = {f"network.{name}": value.detach().numpy() for name, value in network.state_dict().items()}
    arrays |= {f"spread.{name}": value.numpy() for name, value in spread.items()}
    plain = Fitted(
        forecaster=network.spec,
        features=NAMES,
        tickers=job.tickers,
        horizons=HORIZONS,
        lookback_sessions=lookback,
        arrays={**arrays, "scaler.mean": scaler.mean, "scaler.std": scaler.std},
    )
    return replace(plain, **values)


def drawn_network(tickers: int = 3, **values: Any) -> RecurrentNetwork:
    """Weights large enough that what is read matters."""
    spec = experiment_of(**values).network
    network = new_network(spec, len(NAMES), HORIZONS, torch.Generator().manual_seed(3), tickers)
    with torch.no_grad():
        network.linear.weight.mul_(6.0)
    return network.eval()


# --- Path by path ---


def slow_features(returns: np.ndarray) -> tuple[list[float], float]:
    """The features after a whole series of returns, and the volatility: each formula written out."""
    weight = 0.94 ** np.arange(len(returns))[::-1]
    ewma = max(math.sqrt(float((weight * returns**2).sum() / weight.sum())), 1e-3)
    rolling = max(float(np.std(returns[-20:], ddof=1)), 1e-3)
    volatility = math.sqrt((rolling**2 + ewma**2) / 2)
    clipped = np.clip(returns, -0.3, 0.3)
    features = {
        "log_return": clipped[-1] / volatility,
        "log_volatility": math.log(volatility),
        **{f"volatility_{n}": math.log(float(np.abs(clipped[-n:]).mean()) + 1e-4) for n in (5, 20, 60)},
    }
    return [features[name] for name in NAMES], volatility


def slow_paths(fitted: Fitted, frames: Frames, ticker: int, session: int) -> np.ndarray:
    """Quantiles [horizon, level] in log return: every path reads everything anew at every step, alone."""
    reader, spread = reader_of(fitted), spread_of(fitted)
    network, names = reader.network, reader.names([frames.tickers[ticker]])
    back, first = reader.lookback_sessions, int(frames.first[ticker])
    whole = network.spec.shape == "many_to_one"  # a window of its full length, the first session again before it
    rows = np.maximum(np.arange(session + 1 - back if whole else max(session - back, first), session + 1), first)
    log_return = frames.log_return[ticker, : session + 1].astype(np.float64)
    seen = reader.scaler.apply(np.asarray(frames.features[ticker, rows]))
    key = origin_keys(frames, np.array([ticker]), np.array([session]))
    count = network.spec.sampled_paths
    total = np.zeros((count, HORIZONS))
    for path in range(count):
        returns, inputs, volatility = (
            log_return[np.isfinite(log_return)],
            seen,
            float(frames.volatility[ticker, session]),
        )
        for step in range(HORIZONS):
            raw = network(torch.from_numpy(inputs)[None], names)[0][:, -1]  # [1, 1, size]
            level = torch.tensor([path_levels(key, step, count)[0, path]]).float()
            value = float(network.head.inverse(raw, level, spread)[0, 0, 0]) * volatility
            total[path, step] = total[path, step - 1] * (step > 0) + value
            returns = np.append(returns, value)
            features, volatility = slow_features(returns)
            row = reader.scaler.apply(np.array([features], dtype=np.float32))
            inputs = np.concatenate([inputs, row])
    first = network.head.inverse(network(torch.from_numpy(seen)[None], names)[0][:, -1], torch.tensor(LEVELS), spread)
    result = np.quantile(total, LEVELS, axis=0, method="hazen").T
    result[0] = first[0, 0].numpy() * float(frames.volatility[ticker, session])
    return result


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"cell": "gru", "num_layers": 2, "layer_norm": True, "head": {"kind": "student_t"}},
        {"cell": "rnncell", "embedding_size": 2, "head": {"kind": "mixture"}},
        {"shape": "many_to_one", "head": {"kind": "point"}, "embedding_size": 2},
        {"shape": "one_to_many", "head": {"kind": "direction"}},
        {"shape": "one_to_one", "cell": "concat", "sampled_paths": 9, "embedding_size": 1},
        {"cell": "lstm", "num_layers": 2, "residual": True},
    ],
    ids=str,
)
def test_a_forecast_is_that_of_a_loop_over_paths(frames: Frames, values: dict[str, Any]) -> None:
    fitted, frames = fitted_for(frames, drawn_network(**values), lookback=30), frames.with_features(NAMES)
    origins = slice(frames.usable.shape[1] - 75, frames.usable.shape[1])
    found = quantiles(fitted, frames, origins)
    assert found.shape == (3, 75, HORIZONS, len(LEVELS))
    young = int(frames.usable[2].argmax())  # whose first session lies within the lookback
    with torch.no_grad():
        np.testing.assert_allclose(
            quantiles(fitted, frames, slice(young, young + 1))[2, 0],
            slow_paths(fitted, frames, 2, young),
            rtol=2e-4,
            atol=2e-6,
        )
        for ticker, session in ((0, 385), (2, 430), (1, 459)):
            # A pass begins before the first origin, a window at its own: the twin reads as much.
            alone = quantiles(fitted, frames, slice(session, session + 1))[ticker, 0]
            expected = slow_paths(fitted, frames, ticker, session)
            np.testing.assert_allclose(alone, expected, rtol=2e-4, atol=2e-6)
            np.testing.assert_allclose(found[ticker, session - origins.start], expected, atol=2e-4)


def test_the_first_horizon_is_that_of_the_same_weights_used_directly(frames: Frames) -> None:
    network = drawn_network()
    fitted = fitted_for(frames, network)
    direct = replace(fitted, forecaster=network.spec.model_copy(update={"horizon_mode": "direct"}), horizons=1)
    origins = slice(300, 460)
    first, alone = quantiles(fitted, frames, origins)[:, :, :1], quantiles(direct, frames, origins)
    assert largest_gap(first, alone) <= 1e-7
    assert largest_gap(quantiles(replace(fitted, horizons=1), frames, origins), alone) <= 1e-7


def test_the_draws_of_the_first_step_are_the_heads_distribution(frames: Frames) -> None:
    """The quantiles of many draws are those that the head says, within a slice's width."""
    fitted, frames = fitted_for(frames, drawn_network(sampled_paths=1024)), frames.with_features(NAMES)
    sampler = sampling.Sampler(reader_of(fitted), spread_of(fitted), frames, return_histories(frames))
    with torch.no_grad():
        (start, *_) = sampling._starts(sampler, slice(400, 402))
        walk = sampling._begun(sampler, start)
        keys = origin_keys(frames, start.ticker, start.session)
        drawn = sampling._drawn(sampler, walk, path_levels(keys, 0, 1024)) / walk.volatility
        said = sampler.reader.network.head.inverse(start.raw, torch.tensor(LEVELS), {})[:, 0].numpy()
    np.testing.assert_allclose(np.quantile(drawn, LEVELS, axis=1, method="hazen").T, said, atol=0.02)


# --- Theory ---


def planted(weight: float, noise: float) -> RecurrentNetwork:
    """A network that is the process itself: the median is weight x the last return, around it a Student t."""
    network = drawn_network(cell="concat", shape="one_to_many", hidden_size=1, sampled_paths=256)
    with torch.no_grad():
        network.linear.weight.zero_()
        network.linear.weight[MEDIAN, NAMES.index("log_return")] = weight
        width = torch.nn.functional.softplus(network.head.start)
        network.linear.bias.copy_(torch.log(torch.expm1(noise * width)))
        network.linear.bias[MEDIAN] = 0.0
    return network


def unscaled(fitted: Fitted) -> Fitted:
    count = len(NAMES)
    plain = {"scaler.mean": np.zeros(count, dtype=np.float32), "scaler.std": np.ones(count, dtype=np.float32)}
    return replace(fitted, arrays={**fitted.arrays, **plain})


@pytest.mark.parametrize("weight", [0.7, -0.5])
def test_the_median_of_an_autoregression_is_its_theory(frames: Frames, weight: float) -> None:
    """E[r_(t+1) + .. + r_(t+h)] = r_t (w + .. + w^h)."""
    noise = 0.1
    fitted = unscaled(fitted_for(frames, planted(weight, noise)))
    origins = slice(360, 460)
    forecast = quantiles(fitted, frames, origins)[..., MEDIAN]  # [ticker, origin, horizon]
    usable = frames.usable[:, origins]
    last, unit = frames.log_return[:, origins][usable], frames.volatility[:, origins][usable]
    # Where the volatility does not leap with the last return, and no path of returns is clipped.
    calm = (np.abs(last / unit) < 3) & (np.abs(last) < 0.2)
    for h in range(HORIZONS):
        theory = last * sum(weight**k for k in range(1, h + 2))
        error = ((forecast[usable][:, h] - theory) / unit)[calm]
        assert np.abs(error).max() < 0.25 * noise * math.sqrt(h + 1) / (1 - abs(weight))
        assert np.abs(theory[calm] / unit[calm]).max() > 0.6


def test_the_width_of_a_random_walk_grows_with_the_root_of_the_horizon(frames: Frames) -> None:
    fitted = unscaled(fitted_for(frames, planted(0.0, 1.0)))
    origins = slice(300, 460)
    forecast = quantiles(fitted, frames, origins)[frames.usable[:, origins]]
    for low, high in ((2, 4), (1, 5)):
        width = (forecast[..., high] - forecast[..., low]) / (forecast[:, :1, high] - forecast[:, :1, low])
        mean = width.mean(axis=0)
        for h in range(1, HORIZONS):
            # Sums of heavy tails draw towards a normal: the middle widens a little more, the tails a little less.
            assert mean[h] == pytest.approx(math.sqrt(h + 1), rel=0.12), (low, h)
        assert (np.diff(mean) > 0).all()


def test_a_network_that_learned_an_autoregression_forecasts_it_further_ahead() -> None:
    """Trained for one session ahead on r_(t+1) = 0.6 r_t + noise, it knows the sum of the next four."""
    draws, weight, count = np.random.default_rng(3), 0.6, 900
    rows = {}
    for k in range(3):
        returns = np.zeros(count)
        for t in range(1, count):
            returns[t] = weight * returns[t - 1] + 0.01 * draws.standard_normal()
        close = 50 * np.exp(np.cumsum(returns))
        plain = dict.fromkeys(("open", "high", "low", "close", "adj_close"), close)
        rest = {"volume": 1e6, "dividend": 0.0, "split": 1.0}
        rows[f"A{k}"] = pd.DataFrame(
            {"session": sessions_to(np.datetime64("2023-12-29"), count).astype("datetime64[s]"), **plain, **rest}
        )
    training = TrainingSpec(
        min_steps=200, max_steps=200, validation_checks=4, batch_chunks=32, chunk_sessions=40, burn_in_sessions=5,
        learning_rate=0.05, lookback_sessions=40,
    )  # fmt: skip
    experiment = changed(
        experiment_of(sampled_paths=256, hidden_size=2, cell="concat", shape="one_to_many"), training=training
    )
    frames = frames_from(rows, experiment)
    job = first_job(frames, experiment)
    fitted = fit(job, frames)
    origins = slice(job.fold.test.start, job.fold.test.stop)
    forecast = quantiles(fitted, frames, origins)[..., MEDIAN]
    for h in range(1, HORIZONS):
        theory = frames.log_return[:, origins] * sum(weight**k for k in range(1, h + 2))
        slope = float((forecast[..., h] * theory).sum() / (theory**2).sum())
        assert slope == pytest.approx(1.0, abs=0.2)
        assert np.corrcoef(forecast[..., h].ravel(), theory.ravel())[0, 1] > 0.8


# --- What must and what must not matter ---


def fitted_small(frames: Frames) -> Fitted:
    return fit(first_job(frames, experiment_of(embedding_size=2)), frames)


@pytest.mark.parametrize("shape", ["many_to_many", "many_to_one", "one_to_one"])
def test_what_comes_after_an_origin_changes_none_of_its_bits(frames: Frames, shape: str) -> None:
    fitted = fitted_for(frames, drawn_network(shape=shape))
    later = np.arange(len(frames.sessions)) > 400
    noise = np.random.default_rng(1).normal(0, 0.02, frames.log_return.shape).astype(np.float32)
    spoilt = replace(
        frames,
        features=np.where(later[:, None], np.float32(2.0), frames.features),
        log_return=np.where(later, noise, frames.log_return),
        volatility=np.where(later, np.float32(0.05), frames.volatility),
    )
    before, after = (quantiles(fitted, some_frames, slice(390, 420)) for some_frames in (frames, spoilt))
    assert np.array_equal(before[:, :11], after[:, :11], equal_nan=True)
    assert not np.array_equal(before[:, 11:], after[:, 11:], equal_nan=True)


@pytest.mark.parametrize("shape", ["many_to_many", "many_to_one", "one_to_one"])
def test_an_origin_is_forecast_alike_whatever_else_is_forecast_with_it(frames: Frames, shape: str) -> None:
    """Alone as it is live, within a long range, of a panel that ends there, with other tickers, in another order."""
    fitted = fitted_for(frames, drawn_network(shape=shape))
    long, at = quantiles(fitted, frames, slice(300, 460)), 430
    others = [
        quantiles(fitted, frames, slice(at, at + 1))[:, 0],
        quantiles(fitted, frames.until(at + 1), slice(at, at + 1))[:, 0],
        quantiles(fitted, frames.until(at + 1), slice(at - 30, at + 1))[:, 30],
        quantiles(fitted, frames.of(("T2", "T0", "T1")), slice(at, at + 1))[[1, 2, 0], 0],
        np.stack([quantiles(fitted, frames.of((name,)), slice(at, at + 1))[0, 0] for name in frames.tickers]),
    ]
    for other in others:
        assert largest_gap(other, long[:, at - 300]) <= 1e-6


def test_same_weights_same_bits_whatever_the_global_generators_say(frames: Frames) -> None:
    results, fits = [], []
    for seed in (0, 1):
        torch.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        fits.append(fitted_small(frames))
        results.append(quantiles(fits[-1], frames, slice(400, 460)))
    assert same_arrays(*fits)
    assert np.array_equal(*results, equal_nan=True)


def test_origins_have_draws_of_their_own(frames: Frames) -> None:
    """The same distribution at every origin: the sums differ from origin to origin by chance, the first does not."""
    fitted = unscaled(fitted_for(frames, planted(0.0, 1.0)))
    forecast = quantiles(fitted, frames, slice(400, 460)) / frames.volatility[:, 400:460, None, None]
    assert forecast[:, :, 0].std(axis=(0, 1)).max() < 1e-5
    assert forecast[:, :, 1].std(axis=(0, 1)).min() > 1e-3


@pytest.mark.parametrize("head", ["quantiles", "point", "student_t", "mixture", "direction"])
def test_every_head_gives_the_same_table_as_any_network(frames: Frames, head: str) -> None:
    fitted = fit(first_job(frames, experiment_of(head={"kind": head})), frames)
    part = slice(250, 460)
    forecast = quantiles(fitted, frames, part)
    assert forecast.shape == (3, 210, HORIZONS, len(LEVELS))
    assert forecast.dtype == np.float32
    np.testing.assert_array_equal(np.isfinite(forecast).all(axis=(2, 3)), frames.usable[:, part])
    known = forecast[frames.usable[:, part]]
    assert (np.diff(known, axis=-1) >= 0).all()
    spread = (known[..., -1] - known[..., 0]).mean(axis=0)
    assert (np.diff(spread) > 0).all()  # wider further ahead


def test_more_paths_bring_it_closer_to_the_truth(frames: Frames) -> None:
    """Against very many: the error falls as paths are added."""
    errors = []
    truth = quantiles(fitted_for(frames, drawn_network(sampled_paths=4096)), frames, slice(450, 456))
    for paths in (16, 256):
        own = quantiles(fitted_for(frames, drawn_network(sampled_paths=paths)), frames, slice(450, 456))
        errors.append(float(np.nanmean(np.abs(own - truth)[:, :, 1:])))
    assert errors[1] < 0.5 * errors[0]


# --- What is refused ---


@pytest.mark.parametrize("name", ["log_range", "market_return", "volume_surprise", "overnight_gap"])
def test_a_feature_without_a_model_of_its_own_is_refused_at_once(name: str) -> None:
    with pytest.raises(ValidationError, match=f"found {name} with recursive horizons, expected only features that"):
        changed(experiment_of(), features=("log_return", name))
    assert changed(experiment_of(horizon_mode="direct"), features=("log_return", name)).features == ("log_return", name)


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"calendar_covariates": ("month_end",)}, "month_end"),
        ({"index": "T0"}, "index_return, index_log_range"),
        ({"sectors": "sectors.csv"}, "sector_return, sector_log_range"),
        ({"covariates": [{"name": "rates", "path": "r.csv", "column": "v", "publication_lag_days": 1.0}]}, "rates"),
    ],
)
def test_covariates_have_no_model_of_their_own_either(values: dict[str, object], named: str) -> None:
    with pytest.raises(ValidationError, match=f"found {named} with recursive horizons"):
        changed(experiment_of(), **values)


def test_the_default_features_are_refused_by_name() -> None:
    with pytest.raises(ValidationError, match="found overnight_gap, open_to_close, market_return, log_range"):
        Experiment(network=RecurrentSpec(horizon_mode="recursive"))


def test_a_fit_with_such_a_feature_is_refused_where_it_forecasts(frames: Frames) -> None:
    fitted = fitted_for(frames, drawn_network())
    renamed = replace(frames, feature_names=("log_range", *NAMES[1:]))
    with pytest.raises(UsageError, match="found log_range with recursive horizons"):
        sampled_quantiles(fitted, renamed, slice(400, 401))


def test_a_young_ticker_has_forecasts_from_its_first_usable_origin_on() -> None:
    frames = frames_from({"T0": random_rows(400, 0), "YOUNG": random_rows(120, 9)}, experiment_of())
    fitted = fit(first_job(frames, experiment_of()), frames)
    first = int(frames.usable[1].argmax())
    forecast = quantiles(fitted, frames, slice(first - 3, first + 3))
    np.testing.assert_array_equal(np.isfinite(forecast[1]).all(axis=(1, 2)), [False] * 3 + [True] * 3)
    assert np.isfinite(forecast[0]).all()
