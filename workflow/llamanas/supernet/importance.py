"""What each sub-layer and each MLP channel of a network is worth, measured on calibration examples."""

import torch
from torch import Tensor

from llamanas.architecture import Architecture, SubLayer
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


@torch.inference_mode()
def unit_rows(decoder: Decoder, batch: Answers, space: dict) -> list[dict]:
    """Rows of artifact ``importance`` of kind ``channel``: activation norm times output weight norm of each channel.

    Wanda's criterion (Sun et al., arXiv 2306.11695) summed over a channel's output weights. Where section ``space`` of
    the config lets attentions have fewer heads, there are rows of kind ``kv_head`` too: for each key-value head the sum
    of these scores over the values that its query heads gather.
    """
    rows, heads, place = [], decoder.shape.kv_heads, decoder.place(batch.sequence)
    ranks_heads = any(number < heads for number in space["kv_heads"])
    inputs = zip(decoder.layers, layer_inputs(decoder, batch), strict=False)
    for index, (layer, x) in enumerate(progress(inputs, "rank units", decoder.shape.layers, "layer")):
        if ranks_heads:
            gathered = layer.self_attn.attended(layer.input_layernorm(x), place, heads)
            scores = _wanda(gathered[batch.real], layer.self_attn.o_proj.weight)
            rows += _rows(index, "kv_head", scores.unflatten(0, (heads, -1)).sum(1))
        x = layer(x, place, SubLayer("attention", heads))
        activations = layer.mlp.channels(layer.post_attention_layernorm(x), decoder.shape.intermediate_size)
        rows += _rows(index, "channel", _wanda(activations[batch.real], layer.mlp.down_proj.weight))
    return rows


def _wanda(activations: Tensor, weight: Tensor) -> Tensor:
    """Norms of a linear layer's inputs over activations [N, inputs], times those of the columns that read them."""
    return activations.float().norm(dim=0) * weight.float().norm(dim=0)


def _rows(layer: int, kind: str, scores: Tensor) -> list[dict]:
    return [
        {"layer": layer, "kind": kind, "index": index, "score": score} for index, score in enumerate(scores.tolist())
    ]


@torch.inference_mode()
def sensitivity_rows(decoder: Decoder, batch: Answers, space: dict) -> list[dict]:
    """Rows of kind ``attention`` (index: remaining key-value heads) and ``mlp`` (index: remaining width).

    They are those of artifact ``importance`` for what section ``space`` of the config lets layers lose. The score is
    the mean Kullback-Leibler divergence in nats, over the answer positions, of the network with that one sub-layer
    removed or narrowed from the full network. Layers below the change are not run again.
    """
    inputs = layer_inputs(decoder, batch)
    reference = _log_probabilities(decoder, batch, inputs[-1])
    rows = []
    full = decoder.shape.full
    for index in progress(range(decoder.shape.layers), "sensitivities", unit="layer"):
        heads, width = full.sizes[index]
        changes = [("attention", number, (number, width)) for number in sorted({0, *space["kv_heads"]} - {heads})]
        changes += [("mlp", size, (heads, size)) for size in sorted({0, *space["intermediate_sizes"]} - {width})]
        for kind, remaining, changed_layer in changes:
            x = _run_from(decoder, batch, inputs[index], index, full.with_layer(index, *changed_layer))
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
        attended = layer(states[-1], place, SubLayer("attention", decoder.shape.kv_heads))
        states.append(layer(attended, place, SubLayer("mlp", decoder.shape.intermediate_size)))
    return states


def _run_from(decoder: Decoder, batch: Answers, x: Tensor, index: int, changed: Architecture) -> Tensor:
    """The states that leave the last layer of a network which ``x`` enters at layer ``index``."""
    place, layers = decoder.place(batch.sequence), decoder.layers
    for layer, part in changed.steps:
        if layer >= index:
            x = layers[layer](x, place, part)
    return x


def _log_probabilities(decoder: Decoder, batch: Answers, x: Tensor) -> Tensor:
    hidden = decoder.model.norm(x).flatten(0, 1)[batch.rows]
    return decoder.lm_head(hidden).float().log_softmax(-1)
