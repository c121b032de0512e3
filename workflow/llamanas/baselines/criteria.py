"""What the published methods rank by: the influence of whole layers, and first-order channel scores."""

import torch

from llamanas.data.packing import Answers
from llamanas.errors import LlamaNasError
from llamanas.finetune.losses import Targets, head_loss
from llamanas.models.decoder import Decoder
from llamanas.supernet.importance import layer_inputs


@torch.no_grad()
def block_influences(decoder: Decoder, batch: Answers) -> list[float]:
    """ShortGPT's Block Influence (arXiv 2403.03853) of each layer: 1 - cosine of what enters and what leaves it.

    The mean over all positions of the batch's texts, in the full network; between 0 and 2, without unit.
    """
    states, real = layer_inputs(decoder, batch), batch.real
    pairs = zip(states, states[1:], strict=False)
    cosines = [torch.cosine_similarity(x[real].float(), y[real].float(), -1).mean() for x, y in pairs]
    return [1 - float(cosine) for cosine in cosines]


def taylor_rows(decoder: Decoder, batch: Answers) -> list[dict]:
    """Rows of kind ``channel`` as artifact ``importance`` has them, scored by LLM-Pruner (arXiv 2305.11627).

    Its vector-wise first-order criterion: |sum of weight times gradient|, in nats, of a channel's row of the gate, its
    row of the up projection and its column of the down projection, the three added up. The gradient is that of the
    mean cross-entropy on the right answers of the batch.

    Raises:
        LlamaNasError: no example of the batch has a right answer.
    """
    answers = int(batch.labelled.sum())
    if not answers:
        raise LlamaNasError(
            "the method taylor needs right answers, but no calibration example has one. Raise "
            "importance.calibration_tokens."
        )
    projections = [(layer.mlp.gate_proj, layer.mlp.up_proj, layer.mlp.down_proj) for layer in decoder.layers]
    weights = [projection.weight.requires_grad_() for of_layer in projections for projection in of_layer]
    try:
        hidden = decoder.hidden(batch.sequence).flatten(0, 1)[batch.rows]
        targets = Targets(batch.targets, batch.labelled[None] / answers, torch.zeros_like(hidden[None, :, 0]))
        loss, _ = head_loss(hidden[None], decoder.lm_head.weight, targets)
        gradients = torch.autograd.grad(loss, weights)
    finally:
        decoder.requires_grad_(False)
    salience = [weight * gradient for weight, gradient in zip(weights, gradients, strict=True)]
    rows = []
    for index, parts in enumerate(zip(salience[::3], salience[1::3], salience[2::3], strict=True)):
        scores = sum(part.sum(axis).abs() for part, axis in zip(parts, (1, 1, 0), strict=True))
        rows += [
            {"layer": index, "kind": "channel", "index": channel, "score": score}
            for channel, score in enumerate(torch.as_tensor(scores).tolist())
        ]
    return rows
