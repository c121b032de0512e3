"""A network as a strip of its layers, small enough for a line of a table."""

from markupsafe import Markup

from llamanas.architecture import Architecture, ModelShape

_WIDE, _TALL, _ATTENTION = 5, 20, 5


def strip(row: dict, shape: ModelShape) -> Markup:
    """SVG of a network: a bar for each layer, as high as its MLP is wide, above one for its attention's heads.

    What is removed is left empty. The style sheet of the page colours the classes ``mlp`` and ``attention``.
    """
    boxes = []
    for layer, (heads, width) in enumerate(Architecture.from_row(row).sizes):
        left, high = layer * _WIDE, round(_TALL * width / shape.intermediate_size, 1)
        if not heads and not width:
            boxes.append(f'<rect class="dropped" x="{left}" y="{_TALL / 2:g}" width="{_WIDE - 1}" height="1"/>')
        if width:
            boxes.append(f'<rect class="mlp" x="{left}" y="{_TALL - high:g}" width="{_WIDE - 1}" height="{high:g}"/>')
        if heads:
            tall = f"{_ATTENTION * heads / shape.kv_heads:.3g}"
            boxes.append(f'<rect class="attention" x="{left}" y="{_TALL + 1}" width="{_WIDE - 1}" height="{tall}"/>')
    across, down = shape.layers * _WIDE, _TALL + _ATTENTION + 1
    label = f"{row['depth']} of {shape.layers} layers, {sum(map(bool, row['kv_heads']))} with attention"
    return Markup(
        f'<svg class="strip" viewBox="0 0 {across} {down}" role="img" aria-label="{label}">{"".join(boxes)}</svg>'
    )
