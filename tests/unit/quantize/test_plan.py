"""Sensitivities of products, and the bits that are chosen by them."""

from itertools import product

import numpy as np
import pytest

from llamanas.architecture import Architecture
from llamanas.artifacts import table_of
from llamanas.benchmark.session import Network
from llamanas.errors import LlamaNasError
from llamanas.export.onnx import write_onnx
from llamanas.quantize.network import quantize_network
from llamanas.quantize.plan import SCALE_BITS, allocate, most_sensitive, ways_of
from llamanas.quantize.recipes import complete_recipes
from llamanas.quantize.sensitivity import bits_rows

ARCHITECTURE = Architecture((0, 1, 0, 2), (96, 64, 0, 128))
TOKENS = np.random.default_rng(0).integers(320, size=40).tolist()
PARTS = ("self_attn.qkv", "self_attn.o", "mlp.gate_up", "mlp.down")
PRODUCTS = {f"model.layers.{n}.{part}_proj" for n in (1, 2) for part in PARTS}
PRODUCTS |= {f"model.layers.0.{part}_proj" for part in PARTS[2:]} | {"lm_head"}


@pytest.fixture(scope="module")
def rows(family_folder):
    return bits_rows(family_folder, ARCHITECTURE, TOKENS, "cpu", {})


def test_each_product_has_a_row_and_fewer_bits_lose_more(rows):
    assert table_of("bits", rows).num_rows == len(rows) == len(PRODUCTS)
    assert {row["product"] for row in rows} == PRODUCTS
    assert {row["part"] for row in rows} == {"qkv", "o", "gate_up", "down", "head"}
    for row in rows:
        assert 0 < row["kl_int8"] < row["kl_int4"], row
        assert row["kl_dynamic"] > 0


@pytest.mark.parametrize("way", ["int4", "dynamic"])
def test_divergence_is_that_of_the_exported_file(family_folder, rows, tmp_path, way):
    write_onnx(family_folder, ARCHITECTURE, tmp_path)
    exact = Network(tmp_path / "model.onnx").run(np.array([TOKENS]))[0]
    reference = exact - np.log(np.exp(exact).sum(-1, keepdims=True))
    for row in (rows[0], rows[2], rows[-1]):
        target = row["product"]
        quantized = tmp_path / "q.onnx"
        quantize_network(
            tmp_path / "model.onnx", quantized, lambda p, t=target: way if p == t else "float", symmetric=False
        )
        logits = Network(quantized).run(np.array([TOKENS]))[0]
        changed = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        found = (np.exp(reference) * (reference - changed)).sum(-1).mean()
        # In the file activations have 8 bits as well, and the embedding 16.
        assert found == pytest.approx(row[f"kl_{way}"], rel=0.2, abs=2e-4)


def sensitivity(seed: int, count: int = 9) -> list[dict]:
    draw = np.random.default_rng(seed)
    return [
        {"product": f"p{n}", "weights": int(draw.integers(10, 100)) * 64, "kl_int8": 0.001 * draw.random()}
        | {"kl_int4": draw.random(), "kl_dynamic": draw.random()}
        for n in range(count)
    ]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("budget", [5.125, 6.0, 7.3, 9.0])
def test_allocation_is_the_best_within_the_budget(seed, budget):
    rows = sensitivity(seed)
    total = sum(row["weights"] for row in rows)

    def cost(ways) -> tuple[float, float]:
        bits = sum(SCALE_BITS[way] * row["weights"] for way, row in zip(ways, rows, strict=True))
        return bits / total, sum(row[f"kl_{way}"] for way, row in zip(ways, rows, strict=True))

    options = [cost(ways) for ways in product(("int4", "int8"), repeat=len(rows))]
    best = min(loss for bits, loss in options if bits <= budget + 1e-9)
    bits, loss = cost(allocate(rows, budget).values())
    assert bits <= budget + 1e-9 and loss == pytest.approx(best)


def test_too_small_a_budget_is_refused():
    with pytest.raises(LlamaNasError, match=r"5\.125.*bits_per_weight"):
        allocate(sensitivity(0), 5)


def test_most_sensitive_products_stay_float():
    rows = sensitivity(4)
    chosen = most_sensitive(rows, 0.4)
    weights = {row["product"]: row["weights"] for row in rows}
    assert 0 < sum(weights[name] for name in chosen) <= 0.4 * sum(weights.values())
    worst = max(rows, key=lambda row: row["kl_dynamic"] / row["weights"])
    assert chosen[0] == worst["product"]
    way = ways_of({"method": "dynamic", "float_share": 0.4}, rows)
    assert {name: way(name) for name in weights} == {n: "float" if n in chosen else "dynamic" for n in weights}
    assert not most_sensitive(rows, 0) and len(most_sensitive(rows, 1)) == len(rows)


def test_recipes_are_completed_and_checked():
    found = complete_recipes({"mine": {"method": "weight_only", "bits": 4}}, ["fp32", "mine"])
    assert found["mine"] == {
        "method": "weight_only", "bits": 4, "block_size": 32, "symmetric": True, "eight_bits": [],
        "equalize": True,
    }  # fmt: skip
    for recipes, precisions, words in (
        ({"mine": {"method": "dynamic", "bits": 4}}, [], "mine.*'dynamic' has no setting bits"),
        ({"mine": {"method": "dynamic"}}, ["fp32", "int3"], "int3.*defines mine"),
        ({"fp32": {"method": "dynamic"}}, [], "taken"),
    ):
        with pytest.raises(LlamaNasError, match=words):
            complete_recipes(recipes, precisions)
