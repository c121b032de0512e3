"""The pruning methods: the sizes they reach, and what they rank by, computed anew from their papers' formulas."""

import itertools

import pytest
import torch

from llamanas.baselines.criteria import block_influences, taylor_rows
from llamanas.baselines.methods import METHODS, prune
from llamanas.baselines.program import least_sensitive
from llamanas.data.packing import pack
from llamanas.errors import LlamaNasError
from llamanas.models.decoder import load_decoder
from llamanas.supernet.importance import sensitivity_rows, unit_rows
from llamanas.supernet.ladder import Ladder
from llamanas.supernet.order import order_units
from llamanas.supernet.space import search_space
from synthetic_search import Problem

EXAMPLES = [
    {"source": "a", "prompt": list(range(1, 9)), "answer": list(range(20, 30)), "labelled": True},
    {"source": "a", "prompt": [6, 3], "answer": [7, 8, 9, 11], "labelled": True},
    {"source": "a", "prompt": [5, 2, 4], "answer": [12, 13], "labelled": False},
]
WIDTHS = [32, 64, 96]
SPACE = {
    "intermediate_sizes": WIDTHS,
    "drop_layers": True,
    "kv_heads": [1],
    "drop_attention": True,
    "minimum_depth": 0.5,
    "depths": None,
}


class Network:
    """A tiny network with all that a method is given; the batch has padding in its second row."""

    def __init__(self, folder) -> None:
        self.folder, self.decoder, self.batch = folder, load_decoder(folder), pack(EXAMPLES, row_tokens=20)
        self.shape = self.decoder.shape
        self.space = search_space(self.shape, SPACE)
        self.importance = unit_rows(self.decoder, self.batch, SPACE)
        self.importance += sensitivity_rows(self.decoder, self.batch, SPACE)

    def prune(self, method: str, parameters: int, seed: int = 5):
        return prune(method, self.decoder, self.batch, self.space, self.importance, parameters, seed)

    def model(self):
        """The network as transformers computes it."""
        from transformers import AutoModelForCausalLM

        return AutoModelForCausalLM.from_pretrained(self.folder, attn_implementation="eager").eval()


@pytest.fixture(scope="module")
def network(family_folder) -> Network:
    return Network(family_folder)


def sizes(network: Network) -> list[int]:
    full = network.shape.full.parameters(network.shape)
    return [int(full - share * (full - network.shape.fixed_parameters)) for share in (0.1, 0.3, 0.45)]


@pytest.mark.parametrize("method", METHODS)
def test_every_method_ends_at_most_one_granule_below_the_wanted_size(network, method):
    shape = network.shape
    layer = shape.attention_parameters(shape.kv_heads) + shape.mlp_parameters(shape.intermediate_size)
    width = shape.mlp_parameters(64) - shape.mlp_parameters(32)
    granules = {"first_layers": layer, "block_influence": layer, "random": width, "integer_program": layer}
    reached = []
    for wanted in sizes(network):
        architecture, orders = network.prune(method, wanted)
        reached.append(architecture.parameters(shape))
        assert wanted - granules.get(method, shape.layers * width) < reached[-1] <= wanted
        units = {"channel": shape.intermediate_size, "kv_head": shape.kv_heads}
        assert all(sorted(order) == list(range(units[kind])) for (kind, _), order in orders.items())
        assert orders or set(architecture.sizes) == {(0, 0), shape.full.sizes[0]}
    assert reached == sorted(reached, reverse=True)


@pytest.mark.parametrize("method", METHODS)
def test_size_out_of_reach_is_refused_with_the_least_there_is(network, method):
    wanted = network.shape.fixed_parameters + 1
    with pytest.raises(LlamaNasError, match=rf"method {method} cannot make .* {wanted:,} parameters") as refused:
        network.prune(method, wanted)
    least = int(str(refused.value).split("smallest has ")[1].split(". ")[0].replace(",", ""))
    assert network.prune(method, least)[0].parameters(network.shape) == least
    with pytest.raises(LlamaNasError, match=f"{least:,}"):
        network.prune(method, least - 1)


def test_unknown_method_is_named(network):
    with pytest.raises(LlamaNasError, match="no pruning method 'magic'.*uniform_width"):
        network.prune("magic", 10**6)


def test_block_influence_is_the_papers_formula_over_real_positions(network):
    model, cosines = network.model(), {}
    for index, layer in enumerate(model.model.layers):
        layer.register_forward_hook(
            lambda _, inputs, output, index=index: cosines.setdefault(index, []).append(
                ((inputs[0] * output).sum(-1) / inputs[0].norm(dim=-1) / output.norm(dim=-1))[0]
            )
        )
    with torch.no_grad():
        for example in EXAMPLES:
            model(torch.tensor([example["prompt"] + example["answer"]]))
    expected = [1 - float(torch.cat(of_layer).mean()) for of_layer in cosines.values()]
    assert len(torch.cat(cosines[0])) < network.batch.sequence.tokens.numel()
    assert block_influences(network.decoder, network.batch) == pytest.approx(expected, abs=1e-4)
    architecture, _ = network.prune("block_influence", sizes(network)[2])
    dropped = set(range(4)) - set(architecture.kept_layers)
    assert dropped == set(sorted(range(4), key=expected.__getitem__)[: len(dropped)])


def test_taylor_is_the_papers_formula_on_right_answers(network):
    model, losses = network.model(), []
    for example in EXAMPLES[:2]:
        tokens, known = torch.tensor([example["prompt"] + example["answer"]]), len(example["prompt"])
        logs = model(tokens).logits[0, known - 1 : -1].log_softmax(-1)
        losses.append(-logs.gather(1, tokens[0, known:, None]).squeeze(1))
    torch.cat(losses).mean().backward()
    rows = iter(taylor_rows(network.decoder, network.batch))
    for index, layer in enumerate(model.model.layers):
        gate, up, down = (
            (p.weight * p.weight.grad).detach() for p in (layer.mlp.gate_proj, layer.mlp.up_proj, layer.mlp.down_proj)
        )
        for channel in range(128):
            score = abs(gate[channel].sum()) + abs(up[channel].sum()) + abs(down[:, channel].sum())
            row = next(rows)
            assert (row["layer"], row["kind"], row["index"]) == (index, "channel", channel)
            assert row["score"] == pytest.approx(float(score), rel=1e-3, abs=1e-6)
    assert next(rows, None) is None


def test_taylor_leaves_no_gradients_and_needs_right_answers(network):
    architecture, orders = network.prune("taylor", sizes(network)[1])
    assert all(p.grad is None and not p.requires_grad for p in network.decoder.parameters())
    scores = [row["score"] for row in taylor_rows(network.decoder, network.batch) if row["layer"] == 0]
    assert orders["channel", 0] == sorted(range(128), key=lambda channel: (-scores[channel], channel))
    with pytest.raises(LlamaNasError, match="right answers"):
        taylor_rows(network.decoder, pack([EXAMPLES[2]]))


def test_orders_put_the_channels_that_stay_first(network):
    wanted = sizes(network)[1]
    architecture, orders = network.prune("uniform_width", wanted)
    scores = [row["score"] for row in network.importance if row["kind"] == "channel" and row["layer"] == 2]
    assert orders["channel", 2] == sorted(range(128), key=lambda channel: (-scores[channel], channel))
    decoder = load_decoder(network.folder)
    order_units(decoder, orders)
    kept = torch.tensor(orders["channel", 2][: architecture.intermediate_sizes[2]])
    weight = network.decoder.layers[2].mlp.up_proj.weight
    assert torch.equal(decoder.layers[2].mlp.up_proj.weight[: len(kept)], weight[kept])


def test_random_depends_on_the_seed_alone(network):
    wanted = sizes(network)[1]
    drawn = [network.prune("random", wanted, seed)[0] for seed in (1, 1, 2, 3)]
    assert drawn[0] == drawn[1] and len(set(drawn)) > 1
    assert all(network.space.contains(architecture) for architecture in drawn)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("scale", [1e-6, 1.0])
def test_integer_program_finds_what_trying_all_finds(seed, scale):
    problem = Problem(4, seed, intermediate_sizes=[128], kv_heads=[1])
    space = problem.space
    importance = [row | {"score": row["score"] * scale} for row in problem.importance]
    added = Ladder(space, importance).added
    every = [space.decode(genes) for genes in itertools.product(*(range(len(c)) for c in space.choices))]
    costs = {
        a: sum(added[layer, gene] for layer, gene in enumerate(space.encode(a))) for a in every if space.contains(a)
    }
    low, high = space.parameters(space.smallest), space.parameters(space.full)
    for share in (0.0, 0.2, 0.5, 0.8, 1.0):
        limit = round(low + share * (high - low))
        found = least_sensitive(space, importance, limit)
        best = min(cost for architecture, cost in costs.items() if space.parameters(architecture) <= limit)
        assert space.parameters(found) <= limit
        assert costs[found] == pytest.approx(best, rel=1e-6, abs=1e-12 * scale)
    with pytest.raises(LlamaNasError, match="no architecture has at most"):
        least_sensitive(space, importance, low - 1)
