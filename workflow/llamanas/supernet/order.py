"""MLP channels ordered by importance, so that a width is a prefix of the channels."""

import torch

from llamanas.models.decoder import Decoder


def bands(stage: str, widths: list[int], full: int) -> list[int]:
    """The bands of a network fresh from a stage: one before the super-network is trained, then those of its widths."""
    return [full] if stage == "finetune" else sorted({*widths, full} - {0})


def channel_orders(importance: list[dict], bands: list[int]) -> dict[int, list[int]]:
    """For each layer its channels by falling importance, ordered within each band of widths alone.

    ``bands`` are the rising widths at which the prefix must keep its set of channels: only the full width before the
    super-network is trained, all widths of the space afterwards.
    """
    scores: dict[int, dict[int, float]] = {}
    for row in importance:
        if row["kind"] == "channel":
            scores.setdefault(row["layer"], {})[row["index"]] = row["score"]
    orders = {}
    for layer, of_channel in scores.items():
        edges = [0, *bands]
        orders[layer] = [
            channel
            for low, high in zip(edges, edges[1:], strict=False)
            for channel in sorted(range(low, high), key=lambda channel: (-of_channel[channel], channel))
        ]
    return orders


@torch.no_grad()
def order_channels(decoder: Decoder, orders: dict[int, list[int]]) -> None:
    """Permute the MLP channels of each layer in place; the full network's function does not change."""
    for index, order in orders.items():
        mlp = decoder.layers[index].mlp
        permutation = torch.tensor(order, device=mlp.down_proj.weight.device)
        for projection in (mlp.gate_proj, mlp.up_proj):
            projection.weight.data = projection.weight.data[permutation].contiguous()
            if projection.bias is not None:
                projection.bias.data = projection.bias.data[permutation].contiguous()
        mlp.down_proj.weight.data = mlp.down_proj.weight.data[:, permutation].contiguous()
