"""Networks that are broken on purpose: every mark must be missed by them."""

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
from pipeline.tutorials.lesson import Lesson


def forget(network: nn.Module) -> None:
    """Set every weight that a cell applies to its former state to zero."""
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
    forget(network)
    weights = {f"network.{name}": value.numpy() for name, value in network.state_dict().items()}
    return replace(result, fitted=replace(fitted, arrays={**fitted.arrays, **weights}))


@contextmanager
def without_recurrence() -> Iterator[None]:
    """Hold the recurrent weights of every network at zero within, while it is trained as well.

    They are set to zero before each pass, whatever the gradient step before made of them.
    """

    def forget_first(module: nn.Module, _inputs: object) -> None:
        if isinstance(module, RecurrentNetwork):
            forget(module)

    handle = register_module_forward_pre_hook(forget_first)
    try:
        yield
    finally:
        handle.remove()


def shuffled(lesson: Lesson, seed: int) -> Lesson:
    """Return the lesson with the values to learn in another order; what is tested stays as it is."""
    frames, draws = lesson.frames, np.random.default_rng(seed)
    origins = frames.usable & np.isfinite(frames.future_return).all(axis=2)
    origins[:, lesson.fold.validation.stop :] = False
    origins &= np.isin(frames.tickers, lesson.learned)[:, None]
    values, mixed = frames.future_return[origins], frames.future_return.copy()
    order = draws.permutation(len(values))
    while len(values) > 1 and (order == np.arange(len(values))).all():  # of two, half of all orders are the old one
        order = draws.permutation(len(values))
    mixed[origins] = values[order]
    return replace(lesson, frames=replace(frames, future_return=mixed))
