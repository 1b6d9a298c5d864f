"""Categories and scales are told apart by readers with colour blindness, and in grey."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.colors import to_rgb

from phasecube.analysis.entropy.phase_map import ALWAYS_NAMED, LABEL_LOOKS
from phasecube.analysis.maps.cell_look import FOUR_LOOKS, Look
from phasecube.analysis.maps.figures import COLOURMAP, shades
from phasecube.analysis.report.outcome_places import LOOKS
from phasecube.engine.record import Outcome

# Machado, Oliveira and Fernandes 2009 (doi:10.1109/TVCG.2009.113), severity 1.0, on linear RGB.
VISIONS: Mapping[str, Sequence[Sequence[float]]] = {
    "trichromacy": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
# n categories and white (a cell that has none) spread evenly over lightness, which every reader
# sees, are 100 / n apart. Colours must do as well as those greys to every reader; in a grey print,
# where letters say the same again, half as well.


def margin(looks: Sequence[Look]) -> float:
    """Return how far apart the colours of categories must be, in CIE L*a*b*."""
    return 100 / len(looks)


def lab(colour: str | tuple[float, ...], vision: str = "trichromacy") -> np.ndarray:
    """Return CIE L*a*b* (D65) of a colour as a reader of that vision sees it."""
    rgb = np.asarray(to_rgb(colour))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(np.asarray(VISIONS[vision]) @ linear, 0, 1)
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    xyz = np.asarray(to_xyz) @ seen / [0.9505, 1.0, 1.0890]
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def distances(fills: Sequence[str], vision: str) -> list[float]:
    places = [lab(fill, vision) for fill in fills]
    return [float(np.linalg.norm(a - b)) for i, a in enumerate(places) for b in places[:i]]


PALETTES = {
    "phases": list(FOUR_LOOKS.values()),
    "entropy": [LABEL_LOOKS[label] for label in ALWAYS_NAMED],
}


def test_a_matrix_leaves_grey_as_it_is() -> None:
    for vision in VISIONS:
        assert np.abs(lab("#808080", vision)[1:]).max() < 0.5


@pytest.mark.parametrize("vision", VISIONS)
@pytest.mark.parametrize("name", PALETTES)
def test_categories_are_as_far_apart_as_even_greys_to_every_reader(name: str, vision: str) -> None:
    looks = PALETTES[name]
    assert min(distances([look.fill for look in looks], vision)) > margin(looks)


@pytest.mark.parametrize("name", PALETTES)
def test_categories_keep_their_order_of_lightness_in_grey_and_carry_letters(name: str) -> None:
    looks: list[Look] = PALETTES[name]
    light = [lab(look.fill)[0] for look in looks]
    assert all(a - b > margin(looks) / 2 for a, b in pairwise(light))
    assert len({look.letter for look in looks}) == len(looks)


@pytest.mark.parametrize("vision", VISIONS)
def test_the_scale_grows_lighter_from_end_to_end_for_every_reader(vision: str) -> None:
    colours = mpl.colormaps[COLOURMAP](np.linspace(0, 1, 64))
    light = np.array([lab(tuple(c[:3]), vision)[0] for c in colours])
    assert (np.diff(light) > 0).all() and light[-1] - light[0] > 60


def test_text_on_a_scale_has_the_contrast_of_wcag_aa() -> None:
    def luminance(colour: str) -> float:
        rgb = np.asarray(to_rgb(colour))
        linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    pairs = shades(np.linspace(0, 1, 256), log=False)
    pairs += [(look.fill, look.ink) for looks in PALETTES.values() for look in looks]
    for fill, ink in pairs:
        low, high = sorted((luminance(fill), luminance(ink)))
        assert (high + 0.05) / (low + 0.05) >= 4.5, (fill, ink)


def test_outcomes_in_the_bar_differ_in_lightness_or_hatch() -> None:
    assert set(LOOKS) == set(Outcome) - {Outcome.NOT_PLANNED}
    plain = [lab(fill)[0] for fill, hatch in LOOKS.values() if not hatch]
    assert np.diff(sorted(plain)).min() > 100 / len(plain) / 2
    hatches = [hatch for _, hatch in LOOKS.values() if hatch]
    assert len(hatches) == len(set(hatches))
