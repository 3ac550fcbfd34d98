"""Heads: losses against slow twins, distributions that invert their functions, and quantiles that cannot cross."""

import math
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from scipy.stats import t as student
from torch import Tensor

from pipeline.forecasters.forecaster import LEVELS
from pipeline.forecasters.recurrent.heads.empirical import CLASSES, GRID, at_levels, class_of, quantile_function
from pipeline.forecasters.recurrent.heads.head import Head
from pipeline.forecasters.recurrent.heads.parametric import mixture_of, student_parameters
from pipeline.forecasters.recurrent.heads.quantiles import ordered
from pipeline.forecasters.recurrent.losses import masked_mean
from pipeline.forecasters.recurrent.network import head_of
from pipeline.forecasters.recurrent.specification import (
    DirectionHeadSpec,
    HeadSpec,
    MixtureHeadSpec,
    PointHeadSpec,
    QuantileHeadSpec,
    StudentHeadSpec,
)

HEADS: dict[str, HeadSpec] = {
    "quantiles": QuantileHeadSpec(),
    "point": PointHeadSpec(),
    "student_t": StudentHeadSpec(),
    "mixture": MixtureHeadSpec(components=3),
    "direction": DirectionHeadSpec(flat=0.3),
}
every_head = pytest.mark.parametrize("kind", HEADS)
AT = torch.tensor(LEVELS)


def drawn(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def spread_of(head: Head, seed: int = 0, horizons: int = 2, outcomes: int = 400) -> dict[str, Tensor]:
    """What a head learns of skewed, heavy-tailed outcomes."""
    outcome = drawn(seed, outcomes, horizons) * (0.3 + drawn(seed + 1, outcomes, horizons).abs()) + 0.2
    known = torch.ones(outcomes, horizons, dtype=torch.bool)
    return dict(head.learn(drawn(seed + 2, outcomes, horizons, head.size), outcome, known))


def raw_numbers(head: Head, seed: int, size: float, rows: int = 6, horizons: int = 2) -> Tensor:
    return size * drawn(seed, rows, horizons, head.size)


Loss = Callable[[Tensor, Tensor], Tensor]


def assert_equal_with_gradients(loss: Loss, slow_loss: Loss, raw: Tensor, outcome: Tensor) -> None:
    """Both losses of raw numbers [..., size] have the same values [...] and gradients [..., size], to 1e-6."""
    both = []
    for function in (loss, slow_loss):
        own = raw.clone().requires_grad_()
        values = function(own, outcome)
        assert values.shape == outcome.shape
        both.append((values.detach(), *torch.autograd.grad(values.sum(), own)))
    for found, expected in zip(*both, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


# --- Every head ---


@every_head
@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(0, 2**31), st.floats(1e-3, 60.0), st.lists(st.floats(0.001, 0.999), min_size=2, max_size=12))
def test_quantiles_cannot_cross(kind: str, seed: int, size: float, levels: list[float]) -> None:
    head = head_of(HEADS[kind])
    raw, spread = raw_numbers(head, seed, size), spread_of(head, seed % 1000)
    for wanted in (AT, torch.tensor(sorted(levels), dtype=torch.float32)):
        quantiles = head.inverse(raw, wanted, spread)
        assert quantiles.shape == (6, 2, len(wanted))
        assert torch.isfinite(quantiles).all()
        assert (quantiles.diff(dim=-1) >= 0).all()


@every_head
def test_levels_may_differ_from_place_to_place(kind: str) -> None:
    head = head_of(HEADS[kind])
    raw, spread = raw_numbers(head, 3, 1.0), spread_of(head)
    own = torch.rand(6, 2, 4, generator=torch.Generator().manual_seed(1)).clamp(0.01, 0.99)
    found = head.inverse(raw, own, spread)
    for i in range(6):
        for h in range(2):
            expected = head.inverse(raw[i : i + 1], own[i, h], spread)[0, h]
            torch.testing.assert_close(found[i, h], expected, atol=1e-6, rtol=1e-6)


@every_head
def test_a_horizon_reads_its_own_numbers_and_its_own_spread(kind: str) -> None:
    head = head_of(HEADS[kind])
    raw, spread = raw_numbers(head, 3, 1.0), spread_of(head)
    before = head.inverse(raw, AT, spread)
    other = torch.cat((raw[:, :1], raw[:, 1:] + drawn(8, head.size)), dim=1)
    after = head.inverse(other, AT, {name: torch.stack((v[0], 2 * v[1] + 1)) for name, v in spread.items()})
    assert torch.equal(after[:, 0], before[:, 0])
    assert not torch.equal(after[:, 1], before[:, 1])


@every_head
def test_a_place_without_a_forecast_has_no_quantile_and_spoils_no_other(kind: str) -> None:
    head = head_of(HEADS[kind])
    raw, spread = raw_numbers(head, 3, 1.0), spread_of(head)
    gone = raw.clone()
    gone[2] = torch.nan
    found, expected = head.inverse(gone, AT, spread), head.inverse(raw, AT, spread)
    kept = [0, 1, 3, 4, 5]
    assert torch.equal(found[kept], expected[kept])
    assert found[2].isnan().all()


@every_head
def test_a_step_down_the_gradient_lowers_the_loss(kind: str) -> None:
    head = head_of(HEADS[kind])
    outcome = 0.4 + 1.3 * drawn(1, 500, 2)
    raw = head.start.repeat(2).reshape(1, 2, head.size).clone().requires_grad_()
    losses = []
    for _ in range(40):
        loss = head.loss(raw.expand(500, 2, -1), outcome)
        assert loss.shape == outcome.shape
        (slope,) = torch.autograd.grad(loss.mean(), raw)
        losses.append(loss.mean().item())
        raw = (raw - 0.1 * slope).detach().requires_grad_()
    assert losses[-1] < losses[0]
    assert losses == sorted(losses, reverse=True)


@pytest.mark.parametrize("kind", ["quantiles", "student_t"])
def test_training_begins_at_a_student_t_of_unit_variance(kind: str) -> None:
    head = head_of(HEADS[kind])
    expected = torch.tensor(student.ppf(LEVELS, 5.0) * math.sqrt(3 / 5), dtype=torch.float32)
    torch.testing.assert_close(head.inverse(head.start.reshape(1, 1, -1), AT, {})[0, 0], expected, atol=1e-5, rtol=0)


# --- Quantiles ---


def slow_ordered(raw: np.ndarray) -> np.ndarray:
    """Level by level out from the median."""
    result = raw.astype(np.float64).copy()
    for k in (2, 1, 0):
        result[k] = result[k + 1] - math.log1p(math.exp(raw[k]))
    for k in (4, 5, 6):
        result[k] = result[k - 1] + math.log1p(math.exp(raw[k]))
    return result


def test_quantiles_are_the_median_and_steps_from_it() -> None:
    raw = drawn(0, 20, len(LEVELS))
    expected = np.array([slow_ordered(row) for row in raw.numpy()])
    np.testing.assert_allclose(ordered(raw).numpy(), expected, atol=1e-5)


def test_at_the_levels_it_learns_the_inverse_is_the_quantiles() -> None:
    head = head_of(QuantileHeadSpec())
    raw = drawn(1, 50, 3, len(LEVELS))
    torch.testing.assert_close(head.inverse(raw, AT, {}), ordered(raw), atol=1e-6, rtol=1e-6)


def test_between_and_beyond_the_levels_the_quantiles_lie_on_lines_over_a_student_t() -> None:
    head = head_of(QuantileHeadSpec())
    raw = drawn(2, 1, 1, len(LEVELS))
    known, score = slow_ordered(raw[0, 0].numpy()), student.ppf(LEVELS, 5.0)
    for level in (0.0005, 0.02, 0.05, 0.07, 0.2, 0.4, 0.5, 0.6, 0.8, 0.93, 0.96, 0.9999):
        place = int(np.clip(np.searchsorted(LEVELS, level) - 1, 0, len(LEVELS) - 2))
        share = (student.ppf(level, 5.0) - score[place]) / (score[place + 1] - score[place])
        expected = known[place] + share * (known[place + 1] - known[place])
        found = head.inverse(raw, torch.tensor([level], dtype=torch.float64).float(), {}).item()
        assert found == pytest.approx(expected, abs=2e-3 if level > 0.999 else 2e-5), level


def test_the_tails_of_a_head_at_its_start_are_those_of_the_student_t() -> None:
    head = head_of(QuantileHeadSpec())
    levels = torch.tensor([0.001, 0.01, 0.99, 0.999])
    found = head.inverse(head.start.reshape(1, 1, -1), levels, {})[0, 0]
    expected = student.ppf(levels.double().numpy(), 5.0) * math.sqrt(3 / 5)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-4)


# --- Student t ---


def test_student_t_against_scipy() -> None:
    raw, outcome = 2 * drawn(0, 200, 2, 3), 3 * drawn(1, 200, 2)
    head = head_of(StudentHeadSpec())
    location, scale, degrees = (value.double().numpy() for value in student_parameters(raw))
    assert degrees.min() > 2
    assert scale.min() > 0
    np.testing.assert_allclose(location, raw[..., 0].numpy(), atol=1e-6)
    expected = -student.logpdf(outcome.double().numpy(), degrees, location, scale)
    np.testing.assert_allclose(head.loss(raw, outcome).numpy(), expected, rtol=1e-4, atol=1e-4)
    found = head.inverse(raw, AT, {}).numpy()
    quantiles = student.ppf(np.array(LEVELS), degrees[..., None], location[..., None], scale[..., None])
    np.testing.assert_allclose(found, quantiles, rtol=1e-4, atol=1e-5)


def slow_student_loss(raw: Tensor, outcome: Tensor) -> Tensor:
    """Minus the log density of location + scale x Student t, from its formula."""
    location, scale = raw[..., 0], (1 + raw[..., 1].exp()).log() + 1e-3
    degrees = (1 + raw[..., 2].exp()).log() + 2.1
    half = (degrees + 1) / 2
    norm = torch.lgamma(half) - torch.lgamma(degrees / 2) - 0.5 * (math.pi * degrees).log()
    return scale.log() - norm + half * (1 + ((outcome - location) / scale) ** 2 / degrees).log()


def test_the_loss_of_a_student_t_is_minus_its_log_density_with_the_same_gradient() -> None:
    raw, outcome = 2 * drawn(0, 50, 4, 2, 3).double(), 3 * drawn(1, 50, 4, 2).double()
    assert_equal_with_gradients(head_of(StudentHeadSpec()).loss, slow_student_loss, raw, outcome)


# --- Mixture ---


def components(raw: Tensor) -> Iterator[tuple[float, float, float]]:
    mixture = mixture_of(raw)
    normal = mixture.component_distribution
    each = (mixture.mixture_distribution.probs, normal.mean, normal.stddev)
    yield from zip(*(value.double().tolist() for value in each), strict=True)


@pytest.mark.parametrize("count", [2, 3, 5])
def test_the_loss_of_a_mixture_is_minus_the_log_of_a_sum_of_densities(count: int) -> None:
    head = head_of(MixtureHeadSpec(components=count))
    assert head.size == 3 * count
    raw, outcome = drawn(count, 30, head.size), 2 * drawn(9, 30)
    found = head.loss(raw, outcome)
    for i in range(30):
        own = list(components(raw[i]))
        assert sum(weight for weight, _, _ in own) == pytest.approx(1.0, abs=1e-6)
        density = sum(weight * norm.pdf(outcome[i].item(), mean, scale) for weight, mean, scale in own)
        assert found[i].item() == pytest.approx(-math.log(density), rel=1e-4, abs=1e-4)


def slow_mixture_loss(raw: Tensor, outcome: Tensor) -> Tensor:
    """Minus the log of the weighted sum of normal densities, from their formula."""
    weight, location, scale = raw.chunk(3, dim=-1)  # [..., component]
    weight, scale = weight.exp() / weight.exp().sum(dim=-1, keepdim=True), (1 + scale.exp()).log() + 1e-3
    density = (-0.5 * ((outcome[..., None] - location) / scale) ** 2).exp() / (scale * math.sqrt(2 * math.pi))
    return -(weight * density).sum(dim=-1).log()


@pytest.mark.parametrize("count", [2, 3, 5])
def test_the_gradient_of_a_mixtures_loss_is_that_of_its_formula(count: int) -> None:
    raw, outcome = drawn(count, 50, 4, 2, 3 * count).double(), drawn(9, 50, 4, 2).double()
    assert_equal_with_gradients(head_of(MixtureHeadSpec(components=count)).loss, slow_mixture_loss, raw, outcome)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(0, 2**31), st.floats(0.1, 3.0), st.floats(0.005, 0.995))
def test_the_inverse_of_a_mixture_inverts_its_distribution_function(seed: int, size: float, level: float) -> None:
    head = head_of(MixtureHeadSpec(components=3))
    raw = size * drawn(seed, 4, 1, 9)
    found = head.inverse(raw, torch.tensor([level]), {})
    for i in range(4):
        own = list(components(raw[i, 0]))
        reached = sum(weight * norm.cdf(found[i].item(), mean, scale) for weight, mean, scale in own)
        density = sum(weight * norm.pdf(found[i].item(), mean, scale) for weight, mean, scale in own)
        assert abs(reached - level) <= 1e-5 + 1e-4 * density  # the quantile itself to 1e-4


def test_a_mixture_of_equals_is_one_normal() -> None:
    head = head_of(MixtureHeadSpec(components=3))
    raw = torch.tensor([0.0, 0.0, 0.0, 0.5, 0.5, 0.5, 1.0, 1.0, 1.0]).reshape(1, 1, 9)
    scale = math.log1p(math.e) + 1e-3
    expected = 0.5 + scale * norm.ppf(LEVELS)
    np.testing.assert_allclose(head.inverse(raw, AT, {})[0, 0].numpy(), expected, atol=1e-5)


# --- Point ---


def test_the_losses_of_a_point() -> None:
    raw, outcome = drawn(0, 40, 2, 1), 2 * drawn(1, 40, 2)
    square = head_of(PointHeadSpec()).loss(raw, outcome)
    huber = head_of(PointHeadSpec(loss="huber", huber_delta=0.7)).loss(raw, outcome)
    for i in range(40):
        for h in range(2):
            error = abs(raw[i, h, 0].item() - outcome[i, h].item())
            assert square[i, h].item() == pytest.approx(error**2, rel=1e-5, abs=1e-7)
            expected = error**2 / 2 if error <= 0.7 else 0.7 * (error - 0.35)
            assert huber[i, h].item() == pytest.approx(expected, rel=1e-5, abs=1e-7)


def test_the_bands_of_a_point_are_its_learned_residuals() -> None:
    head = head_of(PointHeadSpec())
    raw, outcome = drawn(0, 20, 30, 2, 1), drawn(1, 20, 30, 2) * torch.tensor([1.0, 3.0]) + 0.5
    known = torch.rand(20, 30, 2, generator=torch.Generator().manual_seed(2)) < 0.7
    spread = head.learn(raw, torch.where(known, outcome, torch.tensor(1e6)), known)
    new = drawn(3, 5, 2, 1)
    found = head.inverse(new, AT, spread)
    for h in range(2):
        residual = (outcome - raw[..., 0])[..., h][known[..., h]].double().numpy()
        expected = new[:, h].numpy() + np.quantile(residual, LEVELS)
        np.testing.assert_allclose(found[:, h].numpy(), expected, atol=0.02)
    torch.testing.assert_close(head.inverse(new, AT, {}), new.expand(5, 2, 7))  # nothing learned: the point alone


# --- Direction ---


@pytest.mark.parametrize("shape", [(60,), (30, 2), (7, 5, 2)])
def test_the_loss_of_a_direction_is_minus_the_log_share_of_the_class_that_came(shape: tuple[int, ...]) -> None:
    head = head_of(DirectionHeadSpec(flat=0.3))
    raw, outcome = drawn(0, *shape, 3).double(), drawn(1, *shape).double()

    def slow_loss(raw: Tensor, outcome: Tensor) -> Tensor:
        share = raw.exp() / raw.exp().sum(dim=-1, keepdim=True)
        down, up = outcome < -0.3, outcome > 0.3
        return -torch.where(down, share[..., 0], torch.where(up, share[..., 2], share[..., 1])).log()

    assert_equal_with_gradients(head.loss, slow_loss, raw, outcome)


def test_the_probabilities_of_a_direction_are_shares() -> None:
    head, raw = head_of(DirectionHeadSpec(flat=0.3)), drawn(0, 60, 2, 3)
    assert head.probabilities is not None
    share = head.probabilities(raw)
    torch.testing.assert_close(share.sum(dim=-1), torch.ones(60, 2))
    torch.testing.assert_close(share, raw.exp() / raw.exp().sum(dim=-1, keepdim=True))


def test_the_edges_belong_to_flat() -> None:
    assert class_of(torch.tensor([-0.31, -0.25, 0.0, 0.25, 0.26]), 0.25).tolist() == [0, 1, 1, 1, 2]


def test_only_the_direction_head_has_class_probabilities() -> None:
    assert [kind for kind, spec in HEADS.items() if head_of(spec).probabilities] == ["direction"]


def test_the_bands_of_a_direction_are_the_mixture_of_its_classes_outcomes() -> None:
    """Against a big sample: a class by its probability, then an outcome of that class."""
    head, draws = head_of(DirectionHeadSpec(flat=0.3)), np.random.default_rng(0)
    outcome = torch.from_numpy(draws.standard_t(5, (4000, 2)).astype(np.float32)) * torch.tensor([1.0, 1.5])
    known = torch.from_numpy(draws.uniform(size=(4000, 2)) < 0.9)
    spread = head.learn(torch.zeros(4000, 2, 3), outcome, known)
    assert set(spread) == set(CLASSES)
    raw = torch.tensor([[[1.0, 0.0, -1.0], [0.3, -0.8, 0.5]], [[-3.0, 1.0, 0.0], [0.0, 0.0, 0.0]]])
    found = head.inverse(raw, AT, spread)
    for i in range(2):
        for h in range(2):
            own = outcome[:, h][known[:, h]].numpy()
            groups = [own[own < -0.3], own[np.abs(own) <= 0.3], own[own > 0.3]]
            share = torch.softmax(raw[i, h].double(), dim=-1).numpy()
            which = draws.choice(3, size=200_000, p=share / share.sum())
            sample = np.concatenate([draws.choice(groups[k], int((which == k).sum())) for k in range(3)])
            np.testing.assert_allclose(found[i, h].numpy(), np.quantile(sample, LEVELS), atol=0.03)


@pytest.mark.parametrize("missing", CLASSES)
def test_a_class_that_never_occurred_keeps_its_place(missing: str) -> None:
    head = head_of(DirectionHeadSpec(flat=0.3))
    outcome = drawn(0, 300, 1)
    known = class_of(outcome, 0.3) != CLASSES.index(missing)
    spread = head.learn(torch.zeros(300, 1, 3), outcome, known)
    levels = torch.linspace(0.01, 0.99, 99)
    quantiles = head.inverse(torch.zeros(1, 1, 3), levels, spread)[0, 0]
    assert (quantiles.diff() >= 0).all()
    certain = torch.full((1, 1, 3), -50.0)
    certain[..., CLASSES.index(missing)] = 50.0
    assert class_of(1.001 * head.inverse(certain, levels, spread), 0.3).unique().tolist() == [CLASSES.index(missing)]


# --- Quantile functions of outcomes, and means over what is known ---


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.integers(0, 2**31), st.integers(1, 300))
def test_a_quantile_function_is_that_of_numpy_at_its_grid_and_linear_between(seed: int, count: int) -> None:
    outcomes = drawn(seed, count)
    function = quantile_function(outcomes)
    np.testing.assert_allclose(function.numpy(), np.quantile(outcomes.double().numpy(), GRID.numpy()), atol=1e-5)
    levels = torch.rand(50, generator=torch.Generator().manual_seed(seed))
    expected = np.interp(levels.numpy(), GRID.numpy(), function.numpy())
    np.testing.assert_allclose(at_levels(function[None], levels[None])[0].numpy(), expected, atol=1e-5)
    ends = at_levels(function[None], torch.tensor([[0.0, 1.0, -0.1, 1.1]]))[0]
    assert ends.tolist() == [function[0], function[-1], function[0], function[-1]]


def test_no_outcome_has_a_quantile_function_of_zeros() -> None:
    assert torch.equal(quantile_function(torch.zeros(0)), torch.zeros(len(GRID)))


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.integers(0, 2**31), st.floats(0.0, 1.0), st.booleans())
def test_a_weighted_mean_counts_known_places_by_their_weight(seed: int, share: float, weighted: bool) -> None:
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(3, 4, 2, generator=generator, dtype=torch.float64)
    known = torch.rand(3, 4, 2, generator=generator) < share
    weight = torch.rand(3, 4, 1, generator=generator, dtype=torch.float64) + 0.1 if weighted else None
    own = [
        (values[i, j, h].item(), weight[i, j, 0].item() if weight is not None else 1.0)
        for i in range(3)
        for j in range(4)
        for h in range(2)
        if known[i, j, h]
    ]
    expected = sum(v * w for v, w in own) / sum(w for _, w in own) if own else 0.0
    for other in (0.0, 1e9, torch.nan):  # a place without a forecast is NaN, and is no more counted than any
        spoilt = torch.where(known, values, torch.tensor(other, dtype=torch.float64))
        assert masked_mean(spoilt, known, weight).item() == pytest.approx(expected, abs=1e-12)
