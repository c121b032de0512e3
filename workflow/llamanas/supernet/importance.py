"""What each sub-layer and each MLP channel of a network is worth, measured on calibration examples."""

import torch
from torch import Tensor

from llamanas.data.packing import Answers, epochs, pack
from llamanas.models.decoder import Decoder
from llamanas.progress import progress
from llamanas.randomness import seed_for


def calibration_batch(examples: list[dict], settings: dict, seed: int, device: str) -> Answers:
    """The training examples to rank on, the same in all stages.

    ``settings`` is section ``importance`` of the config, ``seed`` the root of every draw.
    """
    drawn = epochs(examples, settings["calibration_tokens"], seed_for(seed, "rank_importance", "calibration"))
    return pack(next(drawn), device)


@torch.no_grad()
def channel_rows(decoder: Decoder, batch: Answers) -> list[dict]:
    """Rows of artifact ``importance`` of kind ``channel``: activation norm times output weight norm of each channel.

    Wanda's criterion (Sun et al., arXiv 2306.11695) summed over a channel's output weights.
    """
    rows = []
    inputs, place = zip(decoder.layers, layer_inputs(decoder, batch), strict=False), decoder.place(batch.sequence)
    for index, (layer, x) in enumerate(progress(inputs, "rank channels", decoder.shape.layers, "layer")):
        x = layer(x, place, None)
        activations = layer.mlp.channels(layer.post_attention_layernorm(x), decoder.shape.intermediate_size)
        norms = activations[batch.real].float().norm(dim=0) * layer.mlp.down_proj.weight.float().norm(dim=0)
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
    x, place = decoder.model.embed_tokens(batch.sequence.tokens), decoder.place(batch.sequence)
    states = [x]
    for layer in decoder.layers:
        states.append(layer(layer(states[-1], place, None), place, decoder.shape.intermediate_size))
    return states


def _run_from(decoder: Decoder, batch: Answers, x: Tensor, index: int, attention: bool, width: int) -> Tensor:
    """The states that leave the last layer if layer ``index``, which ``x`` enters, is changed so."""
    changed = decoder.shape.full.with_layer(index, attention, width)
    place, layers = decoder.place(batch.sequence), decoder.layers
    for layer, part in changed.steps:
        if layer >= index:
            x = layers[layer](x, place, part)
    return x


def _log_probabilities(decoder: Decoder, batch: Answers, x: Tensor) -> Tensor:
    hidden = decoder.model.norm(x).flatten(0, 1)[batch.rows]
    return decoder.lm_head(hidden).float().log_softmax(-1)
