"""Beginning a fit with the weights of the former fold's."""

from collections.abc import Sequence

import torch
from torch import Tensor

from pipeline.errors import FitError
from pipeline.models.network import RecurrentNetwork
from pipeline.training.jobs import Fitted
from pipeline.training.reading import network_arrays

EMBEDDING = "embedding.weight"


def begin_from(network: RecurrentNetwork, former: Fitted, tickers: Sequence[str]) -> None:
    """Put the former fit's weights into the network; a ticker that it did not know begins like an unknown one.

    Raises FitError where the weights are not those of such a network.
    """
    weights = network_arrays(former)
    if EMBEDDING in weights:
        weights[EMBEDDING] = _rows_of(weights[EMBEDDING], former.tickers, tickers)
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise FitError(
            f"the former fold's weights do not fit this network: {error}; train without warm_start"
        ) from error


def _rows_of(embedding: Tensor, known: Sequence[str], tickers: Sequence[str]) -> Tensor:
    """Return the rows [1 + ticker, embedding] of other tickers, row 0 for each that is new."""
    row = {ticker: at for at, ticker in enumerate(known, 1)}
    return embedding[torch.tensor([0, *(row.get(ticker, 0) for ticker in tickers)])]
