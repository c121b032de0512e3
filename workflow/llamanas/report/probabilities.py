"""The figure of what a front keeps: for each layer, how often its members have which MLP width and how many heads."""

from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_hex
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from llamanas.architecture import ModelShape
from llamanas.report.style import GREY, ORANGE, PALE, drawing

_DARK_BLUE = "#08519c"
_GONE = {"facecolor": PALE, "edgecolor": GREY, "hatch": "////", "linewidth": 0}


def shares(front: list[dict], column: str) -> dict[int, list[float]]:
    """For each size in a column, from 0 (removed) up, the share of the members that have it in each layer.

    The column is ``kv_heads`` or ``intermediate_sizes``.
    """
    layers = [*zip(*(row[column] for row in front), strict=True)]
    return {size: [layer.count(size) / len(front) for layer in layers] for size in sorted(set().union(*layers))}


def draw_probabilities(task: str, front: list[dict], shape: ModelShape) -> str:
    """SVG in two panels: sizes of each layer's MLP among the members of the front, and of its attention."""
    with drawing(f"probabilities {task}", f"What the members of the front for {task} keep, by layer", 3.4) as drawn:
        mlp, attention = drawn.figure.subplots(2, 1, sharex=True, height_ratios=[3, 2])
        widths, heads = shares(front, "intermediate_sizes"), shares(front, "kv_heads")
        named = {width: f"MLP {width} wide" if width else "no MLP" for width in widths}
        patches = _stack(mlp, widths, named, _DARK_BLUE)
        kept = {number: f"{number} of {shape.kv_heads} KV heads" for number in heads if number}
        if kept.keys() == {shape.kv_heads}:
            kept = dict.fromkeys(kept, "attention kept")
        patches += _stack(attention, heads, kept, ORANGE)
        mlp.set(ylabel="share of\nmembers", ylim=(0, 1), title=f"MLP widths of the {len(front)} members")
        attention.set(
            ylabel="share of\nmembers", ylim=(0, 1), title="Attention kept", xlabel="layer of the full network"
        )
        attention.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
        drawn.figure.legend(handles=patches, loc="outside lower center", ncols=3)
    return drawn.svg


def _stack(axes: Axes, of_sizes: dict[int, list[float]], named: dict[int, str], color: str) -> list[Patch]:
    """Draw the shares of the sizes that are named, from the smallest up, one on the other; their legend.

    The larger, the darker, so that they are told apart without colours.
    """
    shade = LinearSegmentedColormap.from_list("", ["white", color])
    present = [size for size in named if size]
    patches, below = [], [0.0] * len(next(iter(of_sizes.values())))
    for size, label in named.items():
        look = {"color": to_hex(shade((1 + present.index(size)) / len(present)))} if size else _GONE
        axes.bar(range(len(below)), of_sizes[size], 0.85, bottom=below, **look)
        below = [low + share for low, share in zip(below, of_sizes[size], strict=True)]
        patches.append(Patch(label=label, **look))
    return patches
