"""How all figures look, and how they become SVG text that is equal for equal tables."""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape

import matplotlib.style
from matplotlib.figure import Figure

from llamanas.randomness import seed_for

WIDTH = 4.6  # inches, so that labels of 9 points are still read on a phone, which shrinks it by a fifth
# Okabe and Ito's palette, told apart with every common form of colour blindness; shapes differ as well.
BLUE, ORANGE, GREEN, VERMILION, PURPLE = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7"
INK, GREY, PALE = "#222222", "#767676", "#e6e6e6"
_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "llamanas",
    "text.parse_math": False,  # names may hold any sign
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "text.color": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": PALE,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
}
_NO_METADATA = {"Date": None, "Creator": None, "Format": None, "Type": None}


_MARK = "mark:"


class Drawing:
    """A figure being drawn, and afterwards its ``svg``."""

    def __init__(self, height: float) -> None:
        self.figure = Figure(figsize=(WIDTH, height))
        self.svg = ""
        self._marks: list[tuple[str, str]] = []

    def mark(self, title: str, target: str = "") -> str:
        """What to give to ``set_url`` of an artist that says ``title`` where pointed at and leads to an identifier."""
        self._marks.append((title, target))
        return f"{_MARK}{len(self._marks) - 1}"

    def _marked(self, svg: str) -> str:
        """The drawing with its marks as links with titles, which need no script."""

        def link(found: re.Match) -> str:
            title, target = self._marks[int(found[1])]
            href = f' href="#{escape(target)}"' if target else ""
            return f'<a class="mark"{href}><title>{escape(title)}</title>'

        return re.sub(rf'<a xlink:href="{_MARK}(\d+)" target="_blank">', link, svg)


@contextmanager
def drawing(name: str, description: str, height: float) -> Iterator[Drawing]:
    """Draw a figure of this height in inches in the style of the report.

    ``name`` keeps the identifiers of several figures in one page apart; ``description`` is read out by a screen reader.
    The SVG stands alone: no document type, fonts by name, no date.
    """
    with matplotlib.style.context(["default", _STYLE]):
        drawn = Drawing(height)
        yield drawn
        stream = io.StringIO()
        drawn.figure.savefig(stream, format="svg", metadata=_NO_METADATA)
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    prefix = f"f{seed_for(0, name):x}-"
    text = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{prefix}", text)
    label = escape(description)
    drawn.svg = drawn._marked(text).replace("<svg ", f'<svg role="group" aria-label="{label}" ', 1)


def themed(svg: str) -> str:
    """The drawing for a page whose style sheet sets its colours, in which the written ones hold where it does not."""
    for name, color in {"ink": INK, "grey": GREY, "pale": PALE, "paper": "#ffffff", "blue": BLUE}.items():
        svg = re.sub(
            rf"(fill|stroke): {color}\b", rf"\1: var(--figure-{name}, {color.lower()})", svg, flags=re.IGNORECASE
        )
    return svg
