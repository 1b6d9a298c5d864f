"""Where the parts of a map stand on the page, in pixels; the template only writes them down."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from phasecube.analysis.drawn import Cell, Map
from phasecube.analysis.maps.map_lines import MapLine
from phasecube.analysis.maps.phase_diagram import Panel

MAX_TICKS = 16
LETTER = 6.3  # mean width in px of a letter at 11 px
MAP_WIDTH = 352.0  # three maps fit side by side


@dataclass(frozen=True)
class Tick:
    """A tick label and the middle of its cell."""

    x: float
    y: float
    text: str


@dataclass(frozen=True)
class PlacedCell:
    """A cell with its upper left corner and its lines of text."""

    cell: Cell
    x: float
    y: float
    lines: tuple[str, ...]


@dataclass(frozen=True)
class PlacedLine:
    """A line over the cells: its pieces and bars as the points of SVG polylines.

    `dots` are the places of a line that has bars.
    """

    label: str
    colour: str
    dashed: bool
    pieces: tuple[str, ...]
    bars: tuple[str, ...]
    dots: tuple[tuple[float, float], ...]
    triangles: tuple[str, ...]


@dataclass(frozen=True)
class PlacedMap:
    """A map ready to be written as SVG."""

    width: float
    height: float
    left: float
    bottom: float
    cell_width: float
    cell_height: float
    cells: tuple[PlacedCell, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    slanted: bool
    lines: tuple[PlacedLine, ...]

    @property
    def corner(self) -> float:
        """Return the side of the mark of a cell that has not run to its end."""
        return min(11.0, self.cell_width * 0.6, self.cell_height * 0.6)


def place_map(drawn: Map, panel: Panel) -> PlacedMap:
    """Return the geometry of a map: the first value of y at the bottom."""
    x_texts, y_texts = panel.x.ticks, panel.y.ticks
    n_columns, n_rows = len(x_texts), len(y_texts)
    height = min(40.0, max(5.0, 380.0 / n_rows))
    left = max(len(t) for t in y_texts) * LETTER + (26 if panel.y.name else 8)
    width = min(60.0, max(5.0, (MAP_WIDTH - left) / n_columns))
    every_x, every_y = -(-n_columns // MAX_TICKS), -(-n_rows // MAX_TICKS)
    slanted = max(len(t) for t in x_texts) * LETTER > width * every_x
    below = (max(len(t) for t in x_texts) * LETTER * 0.8 + 8 if slanted else 16) + (
        20 if panel.x.name else 4
    )
    # Under lines text could not be read.
    text_fits = width >= 34 and height >= 26 and not drawn.lines
    cells = tuple(
        PlacedCell(
            cell,
            left + cell.column * width,
            (n_rows - 1 - cell.row) * height,
            tuple(cell.text.split("\n")) if text_fits and cell.text else (),
        )
        for cell in drawn.cells
    )
    bottom = n_rows * height
    return PlacedMap(
        left + n_columns * width + 8,
        bottom + below,
        left,
        bottom,
        width,
        height,
        cells,
        tuple(
            Tick(left + (i + 0.5) * width, bottom + 12, x_texts[i])
            for i in range(0, n_columns, every_x)
        ),
        tuple(
            Tick(left - 6, (n_rows - 0.5 - i) * height, y_texts[i])
            for i in range(0, n_rows, every_y)
        ),
        slanted,
        tuple(_placed(line, left, width, height, n_rows) for line in drawn.lines),
    )


def _placed(line: MapLine, left: float, width: float, height: float, n_rows: int) -> PlacedLine:
    def pixel(column: float, row: float) -> tuple[float, float]:
        return round(left + (column + 0.5) * width, 1), round((n_rows - 0.5 - row) * height, 1)

    def points(*places: tuple[float, float]) -> str:
        return " ".join("{},{}".format(*pixel(*place)) for place in places)

    bars = [
        points((column, low), (column, high))
        for column, (low, high) in enumerate(zip(line.low_C, line.high_C, strict=True))
        if low < high
    ]
    triangles = []
    for column, above in line.past:
        x, tip = left + (column + 0.5) * width, 0.0 if above else n_rows * height
        foot = tip + 8 if above else tip - 8
        triangles.append(f"{x - 5:.1f},{foot:.1f} {x + 5:.1f},{foot:.1f} {x:.1f},{tip:.1f}")
    pieces = tuple(points(*piece) for piece in line.pieces())
    known = np.flatnonzero(np.isfinite(line.row_C)) if len(line.low_C) else ()
    dots = tuple(pixel(float(column), float(line.row_C[column])) for column in known)
    shape = (line.label, line.colour, line.dashed)
    return PlacedLine(*shape, pieces, tuple(bars), dots, tuple(triangles))
