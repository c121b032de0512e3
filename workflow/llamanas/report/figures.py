"""The figures of the report: front, architectures, training losses and sensitivities, each as SVG text."""

import textwrap
from itertools import cycle
from statistics import fmean

from matplotlib.axes import Axes
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import MaxNLocator

from llamanas.architecture import Architecture, ModelShape
from llamanas.report.style import BLUE, GREEN, GREY, INK, ORANGE, PALE, PURPLE, VERMILION, drawing

_LOSSES = {"attention": ("attention removed", "KV heads kept: {}"), "mlp": ("MLP removed", "MLP {} wide")}
_ATTENTION_BOX = (-0.36, 0.24)  # bottom and height, in units of the full MLP width


def draw_architectures(task: str, picks: list[dict], shape: ModelShape) -> str:
    """SVG of each pick layer by layer: attention's heads and the MLP's width as heights of bars.

    Picks with the same architecture share a panel. Layers that are dropped are hatched.
    """
    panels: dict[str, list[dict]] = {}
    for row in picks:
        panels.setdefault(row["architecture"], []).append(row)
    description = f"Layers, attention and MLP widths of the picks for {task}"
    with drawing(f"architectures {task}", description, 1.05 * len(panels) + 0.9) as drawn:
        grid = drawn.figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
        for axes, rows in zip(grid, panels.values(), strict=True):
            _layers(axes, rows[0], shape)
            names = ", ".join(row["pick"] for row in rows)
            share = rows[0]["parameters"] / shape.full.parameters(shape)
            size = f"{rows[0]['depth']}/{shape.layers} layers, {rows[0]['parameters'] / 1e6:.3g} M parameters"
            axes.set_title(textwrap.fill(f"{names}: {size} ({share:.0%})", 58))
        grid[-1].set_xlabel("layer of the full network")
        kinds = [
            Patch(color=ORANGE, label="attention (heads)"),
            Patch(color=BLUE, label="MLP (width)"),
            Patch(facecolor=PALE, edgecolor=GREY, hatch="////", label="layer dropped"),
        ]
        drawn.figure.legend(handles=kinds, loc="outside lower center", ncols=3, columnspacing=1, handlelength=1.5)
    return drawn.svg


def _layers(axes: Axes, row: dict, shape: ModelShape) -> None:
    """One network: a bar for the attention of each layer and, above it, one for its MLP."""
    bottom, height = _ATTENTION_BOX
    for layer, (heads, width) in enumerate(Architecture.from_row(row).sizes):
        left = layer - 0.4
        if not heads and not width:
            axes.add_patch(
                Rectangle((left, bottom), 0.8, 1 - bottom, facecolor=PALE, edgecolor=GREY, hatch="////", linewidth=0)
            )
            continue
        for start, tall in ((bottom, height), (0, 1)):
            axes.add_patch(Rectangle((left, start), 0.8, tall, facecolor="none", edgecolor=GREY, linewidth=0.5))
        if heads:
            tall = height * heads / shape.kv_heads
            axes.add_patch(Rectangle((left, bottom), 0.8, tall, color=ORANGE, linewidth=0))
        if width:
            axes.add_patch(Rectangle((left, 0), 0.8, width / shape.intermediate_size, color=BLUE, linewidth=0))
    axes.set(xlim=(-0.7, shape.layers - 0.3), ylim=(bottom - 0.05, 1.05))
    axes.set_yticks([bottom + height / 2, 0, 1], ["attention", "MLP 0", f"{shape.intermediate_size}"])
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    axes.grid(visible=False)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def draw_losses(losses: list[dict]) -> str:
    """SVG of the training losses: fine-tuning, full network and sub-networks of the super-network, in panels.

    These may be different quantities, so their heights are not to be compared. The line is the mean over a window of
    about a tenth of the steps; the dots are the losses as they were.
    """
    kinds = {
        "fine-tuning of the full network": [row for row in losses if row["stage"] == "finetune"],
        "super-network: full network": [
            row for row in losses if row["stage"] == "train_supernet" and row["subnet"] == "full"
        ],
        "super-network: sampled sub-networks": [
            row for row in losses if row["stage"] == "train_supernet" and row["subnet"] != "full"
        ],
    }
    shown = {title: rows for title, rows in kinds.items() if rows}
    with drawing("losses", "Training loss by step", 1.7 * len(shown) + 0.4) as drawn:
        grid = drawn.figure.subplots(len(shown), 1, squeeze=False)[:, 0]
        for axes, (title, rows), color in zip(grid, shown.items(), (GREEN, BLUE, VERMILION), strict=False):
            steps, values = [row["step"] for row in rows], [row["loss"] for row in rows]
            half = len(rows) // 20
            smooth = [fmean(values[max(0, i - half) : i + half + 1]) for i in range(len(values))]
            axes.plot(steps, values, ".", color=color, alpha=0.45, markersize=5, markeredgewidth=0)
            axes.plot(steps, smooth, "-", color=color)
            window = f"; line: mean of {2 * half + 1}" if half else ""
            axes.set(title=title + window, ylabel="loss (nats per token)")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        grid[-1].set_xlabel("optimizer step")
    return drawn.svg


def draw_importance(importance: list[dict]) -> str:
    """SVG of what it costs to narrow or remove each layer's attention or its MLP, one at a time.

    The scale is logarithmic; a cost of zero lies at the bottom edge.
    """
    series: dict[tuple[str, int], dict[int, float]] = {}
    for row in importance:
        if row["kind"] in ("attention", "mlp"):
            series.setdefault((row["kind"], row["index"]), {})[row["layer"]] = row["score"]
    styles = zip(cycle([VERMILION, BLUE, GREEN, PURPLE, INK]), cycle("so^vD"), strict=False)
    with drawing("importance", "Sensitivity of each layer's attention and MLP", 3.2) as drawn:
        axes = drawn.figure.subplots()
        for (kind, index), (color, marker) in zip(sorted(series), styles, strict=False):
            layers = dict(sorted(series[kind, index].items()))
            removed, narrowed = _LOSSES[kind]
            label = narrowed.format(index) if index else removed
            axes.plot(list(layers), list(layers.values()), f"{marker}-", color=color, label=label, ms=4, lw=0.8)
        if any(score > 0 for scores in series.values() for score in scores.values()):
            axes.set_yscale("log", nonpositive="clip")
            axes.yaxis.set_major_formatter("{x:g}")
        axes.set(xlabel="layer", ylabel="divergence from the full network\n(KL, nats per answer token)")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
        drawn.figure.legend(loc="outside lower center", ncols=2)
    return drawn.svg
