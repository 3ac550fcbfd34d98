"""Shared by all figures: a canvas without global state, colours, axes, titles, and PNG bytes."""

from io import BytesIO

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from pipeline.forecasting.forecasts import CALIBRATED, COMBINED, NETWORK

DOTS_PER_INCH = 120
COLOURS = 64
LEGEND_PAD = 20.0  # points: room for one line of legend below a title
INK, GREY, FAINT = "#222222", "#6b6b6b", "#d9d9d9"
NETWORK_COLOUR = "#1f4e9c"
CALIBRATED_COLOUR = "#0096c7"
COMBINED_COLOUR = "#15803d"

# Colour is never the only distinction: every forecaster has its own marker as well.
_COLOURS = {
    NETWORK: NETWORK_COLOUR,
    COMBINED: COMBINED_COLOUR,
    CALIBRATED: CALIBRATED_COLOUR,
    "climatology": "#8a5a00",
    "linear": "#b0307a",
    "drift": "#5f7f1e",
    "ewma": "#c2410c",
    "last_close": "#5b5b5b",
    "garch": "#0f766e",
    "har": "#7c3aed",
    "ridge": "#d4a017",
    "boosting": "#be123c",
    "pretrained": "#334155",
}
_MARKERS = {NETWORK: "o", "climatology": "s", "linear": "^", "drift": "v", "ewma": "D", "last_close": "X"} | {
    COMBINED: "d", CALIBRATED: "P", "garch": "<", "har": ">", "ridge": "p", "boosting": "h", "pretrained": "*"
}  # fmt: skip


def colour_of(forecaster: str) -> str:
    """Return the forecaster's colour, the same in every figure."""
    return _COLOURS.get(forecaster, GREY)


def marker_of(forecaster: str) -> str:
    """Return the forecaster's marker, the same in every figure."""
    return _MARKERS.get(forecaster, ".")


def blank_figure(width: float, height: float) -> Figure:
    """Return an empty white figure of this size in inches, drawn without a window or a global figure list."""
    return Figure(figsize=(width, height), dpi=DOTS_PER_INCH, facecolor="white")


def plain_axes(figure: Figure, rectangle: tuple[float, float, float, float]) -> Axes:
    """Return axes at (left, bottom, width, height) of the figure with faint lines behind the data."""
    axes = figure.add_axes(rectangle)
    axes.set_axisbelow(True)
    axes.grid(axis="y", color=FAINT, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)
    axes.tick_params(labelsize=8, colors=INK, length=3)
    return axes


def write_title(axes: Axes, text: str, pad: float = 6.0) -> None:
    """Set the axes' title, left-aligned, `pad` points above; a dollar sign in a ticker starts no formula."""
    axes.set_title(text, loc="left", fontsize=9.5, color=INK, parse_math=False, pad=pad)


def write_legend_below_title(axes: Axes, columns: int = 4) -> None:
    """Put the legend in one line between the axes and a title that was written with LEGEND_PAD."""
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.2, ncols=columns, fontsize=8, frameon=False)


def drawable(text: str) -> str:
    """Return the text with every character that the figures' font may lack replaced, so that drawing never fails."""
    shown = "".join(letter if letter.isprintable() else "?" for letter in text)
    return shown.encode("latin-1", "replace").decode("latin-1")


def png_bytes(figure: Figure) -> bytes:
    """Return the figure as PNG, with the same bytes for the same figure: no date and no version is written.

    A palette makes it three times smaller, which a page with a hundred of them needs.
    """
    raw, packed = BytesIO(), BytesIO()
    figure.savefig(raw, format="rgba")
    picture = Image.frombytes("RGBA", figure.canvas.get_width_height(), raw.getvalue()).convert("RGB")
    picture.quantize(COLOURS, dither=Image.Dither.NONE).save(packed, "png")
    return packed.getvalue()
