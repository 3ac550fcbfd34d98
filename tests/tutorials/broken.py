"""Broken networks, which must miss every mark."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook

from pipeline.forecasters.forecaster import Fitted
from pipeline.forecasters.recurrent.cells import ConcatCell, ElmanCell
from pipeline.forecasters.recurrent.network import RecurrentNetwork
from pipeline.forecasters.recurrent.reading import reader_of
from pipeline.training.jobs import FitResult
from pipeline.tutorials.data import TutorialData


def zero_recurrent_weights(network: nn.Module) -> None:
    """Set every weight that a cell applies to its previous state to zero."""
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, ConcatCell):
                module.to_hidden.weight[:, -module.to_hidden.out_features :] = 0.0
            elif isinstance(module, ElmanCell):
                module.weight[-module.weight.shape[1] :] = 0.0
            elif isinstance(module, nn.RNNBase | nn.RNNCell):
                for name, parameter in module.named_parameters():
                    if name.startswith("weight_hh"):
                        parameter.zero_()


def forgetful(result: FitResult) -> FitResult:
    """Return a finished fit with its recurrent weights set to zero."""
    fitted = result.fitted
    assert isinstance(fitted, Fitted)
    network = reader_of(fitted).network
    zero_recurrent_weights(network)
    weights = {f"network.{name}": value.numpy() for name, value in network.state_dict().items()}
    return replace(result, fitted=replace(fitted, arrays={**fitted.arrays, **weights}))


@contextmanager
def without_recurrence() -> Iterator[None]:
    """Hold the recurrent weights of every network at zero within this context, during training as well.

    They are set to zero before each forward pass, so that gradient steps have no effect on them.
    """

    def zero_before_pass(module: nn.Module, _inputs: object) -> None:
        if isinstance(module, RecurrentNetwork):
            zero_recurrent_weights(module)

    handle = register_module_forward_pre_hook(zero_before_pass)
    try:
        yield
    finally:
        handle.remove()


def shuffled(data: TutorialData, seed: int) -> TutorialData:
    """Return the data with the training targets in another order; the test range is unchanged."""
    frames, draws = data.frames, np.random.default_rng(seed)
    origins = frames.usable & np.isfinite(frames.future_return).all(axis=2)
    origins[:, data.fold.validation.stop :] = False
    origins &= np.isin(frames.tickers, data.trained_tickers)[:, None]
    values, mixed = frames.future_return[origins], frames.future_return.copy()
    order = draws.permutation(len(values))
    while (
        len(values) > 1 and (order == np.arange(len(values))).all()
    ):  # of two values, half of the permutations are the identity
        order = draws.permutation(len(values))
    mixed[origins] = values[order]
    return replace(data, frames=replace(frames, future_return=mixed))
