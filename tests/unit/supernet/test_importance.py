"""Importance and the order of channels and heads that follows from it."""

import pytest
import torch

from llamanas.architecture import Architecture, ModelShape
from llamanas.data.packing import pack
from llamanas.models.decoder import load_decoder
from llamanas.models.linear import linear
from llamanas.supernet.importance import sensitivity_rows, unit_rows
from llamanas.supernet.order import bands, full_bands, order_units, unit_orders

EXAMPLES = [
    {"source": "a", "prompt": list(range(1, 9)), "answer": list(range(20, 30)), "labelled": True},
    {"source": "a", "prompt": [6, 3], "answer": [7, 8, 9, 11], "labelled": False},
]
SPACE = {"intermediate_sizes": [64], "kv_heads": [1]}
SHAPE = ModelShape("llama", 3, 64, 128, 8, 4, 8, 320, tied_head=True)


def scores(rows: list[dict], kind: str, layer: int) -> list[float]:
    return [row["score"] for row in rows if (row["kind"], row["layer"]) == (kind, layer)]


def test_order_keeps_the_full_network_and_puts_the_best_units_first(family_folder):
    decoder, batch = load_decoder(family_folder), pack(EXAMPLES)
    decoder.layers[1].self_attn.v_proj.weight[16:] *= 4  # what its second head gathers counts for more
    before = decoder(batch.sequence)
    orders = unit_orders(unit_rows(decoder, batch, SPACE), full_bands(decoder.shape))
    assert any(orders["channel", layer] != list(range(128)) for layer in range(4))
    assert orders["kv_head", 1] == [1, 0]
    order_units(decoder, orders)
    torch.testing.assert_close(decoder(batch.sequence), before, atol=1e-4, rtol=1e-3)
    rows = unit_rows(decoder, batch, SPACE)
    for kind in ("channel", "kv_head"):
        for layer in range(4):
            found = scores(rows, kind, layer)
            assert found == pytest.approx(sorted(found, reverse=True), rel=1e-3)


def test_heads_are_ranked_only_where_the_space_narrows_attentions(family_folder):
    decoder, batch = load_decoder(family_folder), pack(EXAMPLES)
    everything = unit_rows(decoder, batch, SPACE)
    for numbers in ([], [2]):  # the tiny model has two
        rows = unit_rows(decoder, batch, SPACE | {"kv_heads": numbers})
        assert rows == [row for row in everything if row["kind"] == "channel"] != everything
        assert {kind for kind, _ in unit_orders(rows, full_bands(decoder.shape))} == {"channel"}


def test_products_are_those_of_inference(monkeypatch, family_folder):
    """Of which a GPU computes large ones in float32 faster."""
    decoder, batch, modes = load_decoder(family_folder), pack(EXAMPLES), []
    monkeypatch.setattr(
        "llamanas.models.decoder.linear",
        lambda *given: modes.append(torch.is_inference_mode_enabled()) or linear(*given),
    )
    unit_rows(decoder, batch, SPACE)
    sensitivity_rows(decoder, batch, SPACE)
    assert modes and all(modes)


def test_a_heads_score_is_that_of_the_columns_which_read_it(family_folder):
    """Of the first layer, by hand: two query heads of 16 values each share one key-value head."""
    decoder, batch = load_decoder(family_folder), pack(EXAMPLES)
    layer, gathered = decoder.layers[0], []
    layer.self_attn.attended = lambda *given, own=layer.self_attn.attended: gathered.append(own(*given)) or gathered[-1]
    decoder(batch.sequence)
    reads = layer.self_attn.o_proj.weight
    expected = [
        sum(float(gathered[0][batch.real][:, i].norm() * reads[:, i].norm()) for i in range(32 * head, 32 * head + 32))
        for head in (0, 1)
    ]
    rows = unit_rows(load_decoder(family_folder), batch, SPACE)
    assert scores(rows, "kv_head", 0) == pytest.approx(expected, rel=1e-4)


def test_padding_does_not_change_the_scores_of_units(family_folder):
    decoder, batches = load_decoder(family_folder), [pack(EXAMPLES, row_tokens=tokens) for tokens in (24, 18)]
    assert [batch.real.all().item() for batch in batches] == [True, False]
    dense, padded = ([row["score"] for row in unit_rows(decoder, batch, SPACE)] for batch in batches)
    assert padded == pytest.approx(dense, rel=1e-4)


def test_a_stages_network_has_the_bands_of_the_next():
    space = {"intermediate_sizes": [0, 64, 32], "kv_heads": [3, 1]}
    assert bands("finetune", space, SHAPE) == full_bands(SHAPE) == {"channel": [128], "kv_head": [4]}
    assert bands("train_supernet", space, SHAPE) == {"channel": [32, 64, 128], "kv_head": [1, 3, 4]}
    full = {"intermediate_sizes": [128, 64], "kv_heads": [4]}
    assert bands("train_supernet", full, SHAPE) == {"channel": [64, 128], "kv_head": [4]}


def test_bands_keep_the_set_of_each_size():
    rows = [{"layer": 0, "kind": "channel", "index": i, "score": float(i)} for i in range(6)]
    rows += [{"layer": 1, "kind": "kv_head", "index": i, "score": float(i)} for i in range(3)]
    orders = unit_orders(rows, {"channel": [6], "kv_head": [3]})
    assert orders == {("channel", 0): [5, 4, 3, 2, 1, 0], ("kv_head", 1): [2, 1, 0]}
    orders = unit_orders(rows, {"channel": [2, 6], "kv_head": [1, 3]})
    assert orders == {("channel", 0): [1, 0, 5, 4, 3, 2], ("kv_head", 1): [0, 2, 1]}


def test_sensitivity_is_the_divergence_of_the_changed_network(family_folder):
    decoder, batch = load_decoder(family_folder), pack(EXAMPLES)
    rows = {(r["kind"], r["layer"], r["index"]): r["score"] for r in sensitivity_rows(decoder, batch, SPACE)}
    assert len(rows) == 4 * 4

    def divergence(architecture: Architecture) -> float:
        full, changed = (
            decoder(batch.sequence, a).flatten(0, 1)[batch.rows].log_softmax(-1) for a in (None, architecture)
        )
        return float((full.exp() * (full - changed)).sum(-1).mean())

    without = Architecture((2, 2, 0, 2), (128,) * 4)
    fewer = Architecture((2, 1, 2, 2), (128,) * 4)
    narrow = Architecture((2,) * 4, (128, 64, 128, 128))
    assert rows["attention", 2, 0] == pytest.approx(divergence(without), rel=1e-3)
    assert rows["attention", 1, 1] == pytest.approx(divergence(fewer), rel=1e-3)
    assert rows["mlp", 1, 64] == pytest.approx(divergence(narrow), rel=1e-3)
