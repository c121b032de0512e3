"""What each sub-layer and each MLP channel of a network is worth, measured on calibration examples."""

import torch
from torch import Tensor

from llamanas.data.packing import Answers
from llamanas.models.decoder import Decoder
from llamanas.progress import progress


@torch.no_grad()
def channel_rows(decoder: Decoder, batch: Answers) -> list[dict]:
    """Rows of artifact ``importance`` of kind ``channel``: activation norm times output weight norm of each channel.

    Wanda's criterion (Sun et al., arXiv 2306.11695) summed over a channel's output weights.
    """
    rows = []
    real = batch.sequence.visible.any(2)[:, 0].flatten() if batch.sequence.visible is not None else slice(None)
    inputs = zip(decoder.layers, layer_inputs(decoder, batch), strict=False)
    for index, (layer, x) in enumerate(progress(inputs, "rank channels", decoder.shape.layers, "layer")):
        rotation, visible = decoder.rotation(batch.sequence.positions), decoder.visible(batch.sequence)
        x = x + layer.self_attn(layer.input_layernorm(x), rotation, visible)
        activations = layer.mlp.channels(layer.post_attention_layernorm(x), decoder.shape.intermediate_size)
        norms = activations.flatten(0, 1)[real].float().norm(dim=0) * layer.mlp.down_proj.weight.float().norm(dim=0)
        rows += [
            {"layer": index, "kind": "channel", "index": channel, "score": score}
            for channel, score in enumerate(norms.tolist())
        ]
    return rows


@torch.no_grad()
def sensitivity_rows(decoder: Decoder, batch: Answers, widths: list[int]) -> list[dict]:
    """Rows of kind ``attention`` (index 0) and ``mlp`` (index: remaining width) of artifact ``importance``.

    The score is the mean Kullback-Leibler divergence in nats, over the answer positions, of the network with that one
    sub-layer removed or narrowed from the full network. Layers below the change are not run again.
    """
    inputs = layer_inputs(decoder, batch)
    reference = _log_probabilities(decoder, batch, inputs[-1])
    rows = []
    for index in progress(range(decoder.shape.layers), "sensitivities", unit="layer"):
        full = decoder.shape.intermediate_size
        changes = [("attention", 0, False, full), *(("mlp", width, True, width) for width in widths if width < full)]
        for kind, remaining, attention, width in changes:
            x = _run_from(decoder, batch, inputs[index], index, attention, width)
            changed = _log_probabilities(decoder, batch, x)
            divergence = (
                torch.nn.functional.kl_div(changed, reference, reduction="none", log_target=True).sum(-1).mean()
            )
            rows.append({"layer": index, "kind": kind, "index": remaining, "score": max(float(divergence), 0.0)})
    return rows


def layer_inputs(decoder: Decoder, batch: Answers) -> list[Tensor]:
    """Hidden states [B, T, hidden size] that enter each layer of the full network, and those that leave the last."""
    x = decoder.model.embed_tokens(batch.sequence.tokens)
    rotation, visible = decoder.rotation(batch.sequence.positions), decoder.visible(batch.sequence)
    states = [x]
    for layer in decoder.layers:
        states.append(layer(states[-1], rotation, visible, True, decoder.shape.intermediate_size))
    return states


def _run_from(decoder: Decoder, batch: Answers, x: Tensor, index: int, attention: bool, width: int) -> Tensor:
    rotation, visible = decoder.rotation(batch.sequence.positions), decoder.visible(batch.sequence)
    x = decoder.layers[index](x, rotation, visible, attention, width)
    for layer in decoder.layers[index + 1 :]:
        x = layer(x, rotation, visible, True, decoder.shape.intermediate_size)
    return x


def _log_probabilities(decoder: Decoder, batch: Answers, x: Tensor) -> Tensor:
    hidden = decoder.model.norm(x).flatten(0, 1)[batch.rows]
    return decoder.lm_head(hidden).float().log_softmax(-1)
