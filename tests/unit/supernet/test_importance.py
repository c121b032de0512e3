"""Importance and the order of channels that follows from it."""

import pytest
import torch

from llamanas.architecture import Architecture
from llamanas.data.packing import pack
from llamanas.models.decoder import load_decoder
from llamanas.supernet.importance import channel_rows, sensitivity_rows
from llamanas.supernet.order import bands, channel_orders, order_channels

EXAMPLES = [
    {"source": "a", "prompt": list(range(1, 9)), "answer": list(range(20, 30)), "labelled": True},
    {"source": "a", "prompt": [6, 3], "answer": [7, 8, 9, 11], "labelled": False},
]


def test_order_keeps_the_full_network_and_puts_the_best_channels_first(family_folder):
    decoder, batch = load_decoder(family_folder), pack(EXAMPLES)
    before = decoder(batch.sequence)
    orders = channel_orders(channel_rows(decoder, batch), [128])
    assert any(order != list(range(128)) for order in orders.values())
    order_channels(decoder, orders)
    torch.testing.assert_close(decoder(batch.sequence), before, atol=1e-4, rtol=1e-3)
    for layer in range(4):
        scores = [row["score"] for row in channel_rows(decoder, batch) if row["layer"] == layer]
        assert scores == pytest.approx(sorted(scores, reverse=True), rel=1e-3)


def test_padding_does_not_change_the_scores_of_channels(family_folder):
    decoder, batches = load_decoder(family_folder), [pack(EXAMPLES, row_tokens=tokens) for tokens in (24, 18)]
    assert [batch.real.all().item() for batch in batches] == [True, False]
    dense, padded = ([row["score"] for row in channel_rows(decoder, batch)] for batch in batches)
    assert padded == pytest.approx(dense, rel=1e-4)


def test_a_stages_network_has_the_bands_of_the_next():
    assert bands("finetune", [0, 64, 32], 128) == [128]
    assert bands("train_supernet", [0, 64, 32], 128) == [32, 64, 128]
    assert bands("train_supernet", [128, 64], 128) == [64, 128]


def test_bands_keep_the_set_of_each_width():
    rows = [{"layer": 0, "kind": "channel", "index": i, "score": float(i)} for i in range(6)]
    assert channel_orders(rows, [6]) == {0: [5, 4, 3, 2, 1, 0]}
    assert channel_orders(rows, [2, 6]) == {0: [1, 0, 5, 4, 3, 2]}


def test_sensitivity_is_the_divergence_of_the_changed_network(family_folder):
    decoder, batch = load_decoder(family_folder), pack(EXAMPLES)
    rows = {(r["kind"], r["layer"], r["index"]): r["score"] for r in sensitivity_rows(decoder, batch, [0, 64])}
    assert len(rows) == 4 * 3

    def divergence(architecture: Architecture) -> float:
        full, changed = (
            decoder(batch.sequence, a).flatten(0, 1)[batch.rows].log_softmax(-1) for a in (None, architecture)
        )
        return float((full.exp() * (full - changed)).sum(-1).mean())

    without = Architecture((True, True, False, True), (128,) * 4)
    narrow = Architecture((True,) * 4, (128, 64, 128, 128))
    assert rows["attention", 2, 0] == pytest.approx(divergence(without), rel=1e-3)
    assert rows["mlp", 1, 64] == pytest.approx(divergence(narrow), rel=1e-3)
