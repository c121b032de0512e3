"""The figure of what a front keeps: for each layer, how often its members have which MLP width and attention."""

from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from llamanas.architecture import ModelShape
from llamanas.report.style import GREY, ORANGE, PALE, drawing

# Pale to dark, so that they are told apart without colours: the darker, the wider.
_SHADES = ("#deebf7", "#9ecae1", "#4292c6", "#2171b5", "#08519c")


def keep_shares(front: list[dict], shape: ModelShape) -> list[float]:
    """Share of the members that keep each layer's attention."""
    return [sum(row["attention"][layer] for row in front) / len(front) for layer in range(shape.layers)]


def width_shares(front: list[dict], shape: ModelShape) -> dict[int, list[float]]:
    """For each MLP width from 0 (removed) up, the share of the members that have it in each layer."""
    widths = sorted({width for row in front for width in row["intermediate_sizes"]})
    layers = [[row["intermediate_sizes"][layer] for row in front] for layer in range(shape.layers)]
    return {width: [layer.count(width) / len(front) for layer in layers] for width in widths}


def draw_probabilities(task: str, front: list[dict], shape: ModelShape) -> str:
    """SVG in two panels: widths of each layer's MLP among the members of the front, and whether attention stays."""
    layers = range(shape.layers)
    with drawing(f"probabilities {task}", f"What the members of the front for {task} keep, by layer", 3.4) as drawn:
        mlp, attention = drawn.figure.subplots(2, 1, sharex=True, height_ratios=[3, 2])
        below, patches = [0.0] * shape.layers, []
        for width, shares in width_shares(front, shape).items():
            color = _SHADES[-1 - round((1 - width / shape.intermediate_size) * (len(_SHADES) - 1))] if width else PALE
            look = (
                {"color": color} if width else {"facecolor": PALE, "edgecolor": GREY, "hatch": "////", "linewidth": 0}
            )
            mlp.bar(layers, shares, 0.85, bottom=below, **look)
            below = [low + share for low, share in zip(below, shares, strict=True)]
            patches.append(Patch(label=f"MLP {width} wide" if width else "no MLP", **look))
        attention.bar(layers, keep_shares(front, shape), 0.85, color=ORANGE)
        patches.append(Patch(color=ORANGE, label="attention kept"))
        mlp.set(ylabel="share of\nmembers", ylim=(0, 1), title=f"MLP widths of the {len(front)} members")
        attention.set(
            ylabel="share of\nmembers", ylim=(0, 1), title="Attention kept", xlabel="layer of the full network"
        )
        attention.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
        drawn.figure.legend(handles=patches, loc="outside lower center", ncols=3)
    return drawn.svg
