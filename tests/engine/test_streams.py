from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from phasecube.engine.streams import Stream, key_words, philox

# Random123 1.14, tests/kat_vectors, philox4x32 10 rounds: counter, key, answer.
KNOWN_ANSWERS = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]
SEEDS = st.integers(0, 2**63 - 1)


def traced(seed: int, step: int, dtype: torch.dtype = torch.float64) -> Stream:
    return Stream.traced(torch.tensor(key_words(seed)), torch.tensor(step), dtype)


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN_ANSWERS)
def test_philox_gives_the_known_answers_in_numpy(counter, key, answer) -> None:
    words = philox([np.array([c], np.int64) for c in counter], [np.array([k]) for k in key])
    assert tuple(int(w[0]) for w in words) == answer


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN_ANSWERS)
def test_philox_gives_the_known_answers_in_torch(counter, key, answer) -> None:
    words = philox([torch.tensor([c]) for c in counter], [torch.tensor(k) for k in key])
    assert tuple(int(w[0]) for w in words) == answer


@given(SEEDS, st.integers(0, 2**31 - 1), st.integers(1, 40))
def test_host_and_traced_draws_are_equal(seed: int, step: int, n: int) -> None:
    host, lane = Stream(seed, step), traced(seed, step)
    assert np.array_equal(host.uniform("u", (n,)), lane.uniform("u", (n,)).numpy())
    assert np.array_equal(host.normal("n", (n,)), lane.normal("n", (n,)).numpy())
    assert np.array_equal(host.integers("i", 97, (n,)), lane.integers("i", 97, (n,)).numpy())
    assert np.array_equal(host.permutation("p", n), lane.permutation("p", n).numpy())
    narrow = lane.uniform("u", (n,), torch.float32).numpy()
    assert np.array_equal(host.uniform("u", (n,), np.float32), narrow)


@pytest.mark.parametrize("n_lanes", [1, 3, 64])
@pytest.mark.parametrize("n", [1, 7, 30])
def test_a_lane_under_vmap_draws_what_its_seed_draws_alone(n_lanes: int, n: int) -> None:
    keys_K2 = torch.tensor([key_words(s) for s in range(n_lanes)])
    steps_K = torch.full((n_lanes,), 5)

    def draw(key_2: torch.Tensor, step: torch.Tensor) -> tuple[torch.Tensor, ...]:
        rng = Stream.traced(key_2, step, torch.float32)
        return (
            rng.uniform("mask", (n, 2)),
            rng.normal("noise", (n,)),
            rng.integers("batch", 97, (n,)),
            rng.permutation("order", n),
        )

    packed = torch.func.vmap(draw, randomness="error")(keys_K2, steps_K)
    for seed in {0, n_lanes - 1}:
        alone = Stream(seed, 5)
        assert np.array_equal(packed[0][seed], alone.uniform("mask", (n, 2), np.float32))
        assert np.array_equal(packed[1][seed], alone.normal("noise", (n,), np.float32))
        assert np.array_equal(packed[2][seed], alone.integers("batch", 97, (n,)))
        assert np.array_equal(packed[3][seed], alone.permutation("order", n))


@given(SEEDS, st.integers(0, 50), st.integers(0, 50))
def test_a_draw_is_a_prefix_of_every_longer_draw(seed: int, n: int, more: int) -> None:
    stream = Stream(seed)
    for draw in (stream.uniform, stream.normal):
        assert np.array_equal(draw("x", (n,)), draw("x", (n + more,))[:n])


def test_float32_uniforms_are_the_float64_ones_cut_short() -> None:
    wide, narrow = Stream(3).uniform("x", (1000,)), Stream(3).uniform("x", (1000,), np.float32)
    assert np.all((wide - narrow >= 0) & (wide - narrow < 2.0**-24))
    assert narrow.max() < 1


@given(SEEDS, st.integers(0, 300))
def test_a_permutation_holds_each_index_once(seed: int, n: int) -> None:
    assert sorted(Stream(seed).permutation("order", n)) == list(range(n))


def test_seed_purpose_and_step_each_give_other_numbers() -> None:
    draws = [
        Stream(seed, step).uniform(purpose, (4,))
        for seed in (0, 1)
        for step in (None, 0, 1)
        for purpose in ("a", "b")
    ]
    assert len({d.tobytes() for d in draws}) == len(draws)


def test_a_changed_draw_does_not_change_the_next_of_the_same_stream() -> None:
    first = Stream(1).normal("w", (8,))
    expected = first.copy()
    first[:] = 0.0
    assert np.array_equal(Stream(1).normal("w", (8,)), expected)


def test_normals_have_mean_0_and_variance_1() -> None:
    n = 100_000
    x = Stream(11).normal("w", (n,))
    # 5 standard errors: 1 / sqrt(n) of the mean, sqrt(2 / n) of the variance.
    assert abs(x.mean()) < 5 / n**0.5
    assert abs(x.var() - 1) < 5 * (2 / n) ** 0.5


def test_a_stream_apart_draws_other_numbers_alike_on_both_paths() -> None:
    host, lane = Stream(3, 7), traced(3, 7)
    for kind in ("uniform", "normal", "permutation"):
        args = (64,) if kind == "permutation" else ((64,),)
        plain = getattr(host, kind)("x", *args)
        apart = getattr(host.apart("b"), kind)("x", *args)
        assert (apart != plain).any()
        np.testing.assert_array_equal(getattr(lane.apart("b"), kind)("x", *args), apart)
    assert (host.apart("b").uniform("x", (4,)) != host.apart("c").uniform("x", (4,))).all()
