"""The colours, and what each of them means. Every colour is doubled by width, dash, glyph or text.

The ramp of gradient flow was chosen for contrast on its background, for luminance that runs one way, and for steps
that are told apart in simulated deuteranopia and protanopia; tests/viz/test_palette.py holds it to that.
"""

from __future__ import annotations

from dataclasses import dataclass

FLOW_DECADES = (-3.0, -1.5, 0.0, 1.0, 2.0, 3.0)  # where the ramp's colours stand: log10 of flow over reference


@dataclass(frozen=True)
class Theme:
    """One set of colours for a picture; fields are named by what they colour."""

    name: str
    page: str
    card: str
    card_edge: str
    backward_card: str
    backward_edge: str
    parameter_card: str
    clusters: tuple[str, ...]
    cluster_edge: str
    ink: str
    muted: str
    forward: str
    backward: str
    backward_text: str
    rung: str
    stopped: str
    grid: str
    ramp: tuple[str, ...]
    families: dict[str, str]
    badges: dict[str, tuple[str, str]]  # kind of mark -> (background, text)
    good: str
    bad: str


LIGHT = Theme(
    name="light",
    page="#FFFFFF",
    card="#FEFEFE",
    card_edge="#C9D1DB",
    backward_card="#FFFAF2",
    backward_edge="#E0B77A",
    parameter_card="#F4F8FC",
    clusters=("#F5F8FB", "#EDF2F8", "#E5ECF5"),
    cluster_edge="#DCE3EC",
    ink="#1F2933",
    muted="#596270",
    forward="#2F74B5",
    backward="#B35C00",
    backward_text="#8A4B00",
    rung="#7C8796",
    stopped="#8A94A3",
    grid="#E3E8EF",
    ramp=("#8496A2", "#A38C52", "#C47F00", "#B85400", "#9C2A12", "#5A0018"),
    families={
        "input": "#4B5563",
        "convolution": "#0072B2",
        "activation": "#00795A",
        "pooling": "#236B95",
        "normalization": "#8A5A00",
        "linear": "#8E4B86",
        "shape": "#616873",
        "loss": "#1F2937",
        "group": "#33415C",
        "other": "#3F4753",
    },
    badges={
        "nan": ("#111111", "#FFE94A"),
        "inf": ("#121212", "#FFE94B"),
        "shrinks": ("#B3400A", "#FFFFFE"),
        "vanishing": ("#54779B", "#FFFFFD"),
        "exploding": ("#6E0020", "#FFFFFC"),
        "dead": ("#7A3B00", "#FFFFFB"),
        "no-grad": ("#E3E7EC", "#3B4452"),
        "unused": ("#E3E7ED", "#3B4453"),
        "frozen": ("#44658A", "#FFFFFA"),
    },
    good="#00805E",
    bad="#C24E00",
)

DARK = Theme(
    name="dark",
    page="#0F172A",
    card="#1A2438",
    card_edge="#3B4860",
    backward_card="#2A2218",
    backward_edge="#8A6A35",
    parameter_card="#182A40",
    clusters=("#141E33", "#19253D", "#1E2C47"),
    cluster_edge="#2B3953",
    ink="#E8EDF4",
    muted="#A3AEBF",
    forward="#6CB0F0",
    backward="#F0A348",
    backward_text="#F2C27E",
    rung="#8793A6",
    stopped="#7C889B",
    grid="#33405A",
    ramp=("#66788A", "#9C8A5E", "#E09A2E", "#FFA57A", "#FFC8BE", "#FFF6F2"),
    families={
        "input": "#B6C0CE",
        "convolution": "#63B3ED",
        "activation": "#4FD1A5",
        "pooling": "#7CC4E8",
        "normalization": "#E2B766",
        "linear": "#D6A0D0",
        "shape": "#A9B1BD",
        "loss": "#F1F4F8",
        "group": "#B9C7E6",
        "other": "#C9D0DA",
    },
    badges={
        "nan": ("#FFE94A", "#111111"),
        "inf": ("#FFE94B", "#121212"),
        "shrinks": ("#F08A4B", "#1A0E05"),
        "vanishing": ("#8FB2D6", "#0B1626"),
        "exploding": ("#FF8FA6", "#2B000B"),
        "dead": ("#E0A561", "#201000"),
        "no-grad": ("#49566B", "#F0F3F7"),
        "unused": ("#49566C", "#F0F3F8"),
        "frozen": ("#7FA3CC", "#0B1627"),
    },
    good="#4FD1A6",
    bad="#FF9E57",
)

THEMES = {"light": LIGHT, "dark": DARK, "auto": LIGHT}


def flow_colour(decades: float, theme: Theme = LIGHT) -> str:
    """The ramp's colour for log10 of a flow over the reference flow; ends are clamped."""
    f = min(max(decades, FLOW_DECADES[0]), FLOW_DECADES[-1])
    upper = next(i for i in range(1, len(FLOW_DECADES)) if f <= FLOW_DECADES[i])
    low, high = FLOW_DECADES[upper - 1], FLOW_DECADES[upper]
    return mix(theme.ramp[upper - 1], theme.ramp[upper], (f - low) / (high - low))


def flow_width(decades: float) -> float:
    """The line width, in points, for log10 of a flow over the reference flow."""
    return min(max(3.2 + 1.7 * min(max(decades, -3.0), 3.0), 0.9), 9.0)


def mix(a: str, b: str, t: float) -> str:
    """The colour a fraction t of the way from a to b, in sRGB."""
    return "#" + "".join(f"{round(x + (y - x) * t):02X}" for x, y in zip(rgb(a), rgb(b), strict=True))


def rgb(colour: str) -> tuple[int, int, int]:
    """Red, green and blue, 0 to 255, of `#RRGGBB`."""
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def ink_on(colour: str) -> str:
    """Black or white for numbers on a colour; not the page's white, which a theme that follows the reader swaps."""
    red, green, blue = rgb(colour)
    return "#000000" if 299 * red + 587 * green + 114 * blue > 128_000 else "#FDFDFD"


def dark_twins() -> dict[str, str]:
    """Light colour -> dark colour, for a picture that follows the reader's preference."""
    twins: dict[str, str] = {}
    for name in Theme.__dataclass_fields__:
        _pair(getattr(LIGHT, name), getattr(DARK, name), twins)
    del twins[LIGHT.name]
    return twins


def _pair(light: object, dark: object, twins: dict[str, str]) -> None:
    if isinstance(light, str) and isinstance(dark, str):
        twins[light] = dark
    elif isinstance(light, dict) and isinstance(dark, dict):
        for key in light:
            _pair(light[key], dark[key], twins)
    elif isinstance(light, tuple) and isinstance(dark, tuple):
        for a, b in zip(light, dark, strict=True):
            _pair(a, b, twins)
