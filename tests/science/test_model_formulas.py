"""Each model against its plain formula."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import one_hot, relu, scaled_dot_product_attention

from phasecube.engine.models.pair_mlp import PairMlp
from phasecube.engine.models.pair_transformer import PairTransformer
from phasecube.engine.models.quadratic_readout import QuadraticReadout


def drawn(model: torch.nn.Module) -> torch.nn.Module:
    generator = torch.Generator().manual_seed(0)
    model = model.double()
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.3, generator=generator)
    return model


PAIRS = torch.cartesian_prod(torch.arange(7), torch.arange(7))


@pytest.mark.parametrize(("layers", "activation"), [(1, "quadratic"), (2, "relu"), (3, "relu")])
def test_looking_rows_up_equals_multiplying_the_one_hot_pair(layers: int, activation: str) -> None:
    model = drawn(PairMlp(7, 12, 7, layers=layers, activation=activation))
    act = relu if activation == "relu" else torch.square
    h = one_hot(PAIRS + torch.tensor([0, 7]), 14).sum(1).double() @ model.input
    for weight in model.hidden:
        h = act(h) @ weight
    torch.testing.assert_close(model(*PAIRS.T), act(h) @ model.output)


def test_the_last_query_alone_gives_what_full_attention_gives() -> None:
    model = drawn(PairTransformer(7, 12, 7, heads=3, activation="relu"))
    tokens = torch.cat([PAIRS, torch.full((49, 1), 7)], 1)
    x = model.embedding[tokens] + model.position
    q, k, v = ((x @ w).unflatten(-1, (3, 4)).transpose(1, 2) for w in _qkv(model))
    mixed = scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(-2)
    h = (x + mixed @ model.attention_output)[:, -1]
    expected = (h + relu(h @ model.mlp_in) @ model.mlp_out) @ model.unembedding
    torch.testing.assert_close(model(*PAIRS.T), expected)


def _qkv(model: PairTransformer) -> tuple[torch.Tensor, ...]:
    return model.query, model.key, model.value


def test_the_quadratic_readout_sums_its_units() -> None:
    model = drawn(QuadraticReadout(5, 9))
    x_RD = torch.randn(4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    h_RN = x_RD @ model.first
    expected = (h_RN + 0.3 / 2 * h_RN**2).sum(1)
    torch.testing.assert_close(model(x_RD, 0.3), expected)
