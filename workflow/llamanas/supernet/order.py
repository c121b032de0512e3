"""MLP channels and key-value heads ordered by importance, so that what a sub-network keeps is a prefix of them."""

import torch
from torch import Tensor

from llamanas.architecture import ModelShape
from llamanas.models.decoder import Decoder

Bands = dict[str, list[int]]  # by kind of unit, the rising sizes at which the prefix must keep its set of units
Orders = dict[tuple[str, int], list[int]]  # by kind of unit and layer, the units in their new order


def full_bands(shape: ModelShape) -> Bands:
    """The bands before the super-network is trained, when no size but the full one has a meaning yet."""
    return {"channel": [shape.intermediate_size], "kv_head": [shape.kv_heads]}


def bands(stage: str, space: dict, shape: ModelShape) -> Bands:
    """The bands of a network fresh from a stage: whole at first, then those of the sizes in section ``space``."""
    if stage == "finetune":
        return full_bands(shape)
    return {
        "channel": sorted({*space["intermediate_sizes"], shape.intermediate_size} - {0}),
        "kv_head": sorted({*space["kv_heads"], shape.kv_heads}),
    }


def unit_orders(importance: list[dict], bands: Bands) -> Orders:
    """The units of each layer by falling importance, ordered within each band of sizes alone.

    Units without scores keep their places; heads have none where no sub-network has fewer of them.
    """
    scores: dict[tuple[str, int], dict[int, float]] = {}
    for row in importance:
        if row["kind"] in bands:
            scores.setdefault((row["kind"], row["layer"]), {})[row["index"]] = row["score"]
    orders = {}
    for (kind, layer), of_unit in scores.items():
        edges = [0, *bands[kind]]
        orders[kind, layer] = [
            unit
            for low, high in zip(edges, edges[1:], strict=False)
            for unit in sorted(range(low, high), key=lambda unit: (-of_unit[unit], unit))
        ]
    return orders


@torch.no_grad()
def order_units(decoder: Decoder, orders: Orders) -> None:
    """Permute the units of each layer in place; the full network's function does not change."""
    for (kind, index), order in orders.items():
        layer, size = decoder.layers[index], decoder.shape.head_size
        if kind == "channel":
            _permute([layer.mlp.gate_proj, layer.mlp.up_proj], layer.mlp.down_proj, torch.tensor(order))
            continue
        group, attention = decoder.shape.group_size, layer.self_attn
        places = (torch.arange(len(order) * block).unflatten(0, (-1, block)) for block in (group * size, size))
        queries, keys = (place[order].flatten() for place in places)
        _permute([attention.q_proj], attention.o_proj, queries)
        _permute([attention.k_proj, attention.v_proj], None, keys)


def _permute(writers: list[torch.nn.Linear], reader: torch.nn.Linear | None, permutation: Tensor) -> None:
    """Reorder the outputs of some layers, and the inputs of the one that reads them."""
    permutation = permutation.to(writers[0].weight.device)
    for writer in writers:
        writer.weight.data = writer.weight.data[permutation].contiguous()
        if writer.bias is not None:
            writer.bias.data = writer.bias.data[permutation].contiguous()
    if reader is not None:
        reader.weight.data = reader.weight.data[:, permutation].contiguous()
