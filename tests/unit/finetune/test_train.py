"""The training loop: adapters, resuming, accumulation, several processes, compiled and recomputed sub-layers."""

import os
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from watched_training import adds_in_one_order, broken_and_unbroken, killed_in_the_fourth_step, watched

from conftest import tiny_model
from llamanas.architecture import Architecture, SubLayer
from llamanas.data.packing import flatten, pack
from llamanas.devices import add_in_one_order
from llamanas.errors import LlamaNasError
from llamanas.finetune import stages
from llamanas.finetune import train as training
from llamanas.finetune.lora import add_adapters, merge_adapters
from llamanas.finetune.parallel import Team, run_together
from llamanas.finetune.stages import Training, run_training
from llamanas.finetune.strategies import Pass, full_network, one_network
from llamanas.models import decoder as decoder_module
from llamanas.models.decoder import Layer, load_decoder, tensors_to_save
from llamanas.settings import complete
from llamanas.supernet.importance import sensitivity_rows, unit_rows

EXAMPLES = [
    {
        "source": "a",
        "prompt": [n, n + 1, n + 2],
        "answer": [(7 * n + k) % 300 for k in range(1 + n % 4)],
        "labelled": n % 3 > 0,
    }
    for n in range(24)
]
LORA = {"rank": 4, "alpha": 8, "targets": ["q_proj", "v_proj", "gate_proj", "up_proj", "down_proj"]}
SETTINGS = complete({})["supernet"] | {
    "method": "lora", "steps": 6, "batch_tokens": 40, "learning_rate": 0.01, "warmup": 0.2, "checkpoint_steps": 2,
    "lora": LORA,
}  # fmt: skip
SPACE = {
    "intermediate_sizes": [32, 64],
    "drop_layers": True,
    "kv_heads": [1],
    "drop_attention": True,
    "minimum_depth": 0.5,
    "depths": None,
}
SUBNET = Architecture((2, 0, 1, 0), (96, 32, 128, 0))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("model")
    tiny_model("llama").save_pretrained(path)
    return path


def both(decoder, teacher_weight=0.7):
    return lambda step: [Pass(a, 1 - teacher_weight, teacher_weight) for a in (decoder.shape.full, SUBNET)]


def trained(folder, resume, plan=both, teacher=True, dtype="float32", **changes):
    decoder = load_decoder(folder)
    about = EXAMPLES, SETTINGS | changes, 3, dtype, resume
    losses = training.train(decoder, plan(decoder), *about, load_decoder(folder, dtype=dtype) if teacher else None)
    return decoder, losses


def assert_equal_weights(one, other):
    for name, tensor in tensors_to_save(one).items():
        assert torch.equal(tensor, tensors_to_save(other)[name]), name


@torch.no_grad()
def test_merged_super_network_equals_the_adapted_one(family_folder):
    decoder, batch = load_decoder(family_folder), pack(EXAMPLES[:5])
    plain = decoder(batch.sequence, SUBNET)
    add_adapters(decoder, LORA)
    for name, parameter in decoder.named_parameters():
        if "lora_B" in name:
            parameter.normal_(0, 0.1)
    adapted = [decoder(batch.sequence, architecture) for architecture in (None, SUBNET)]
    assert not torch.allclose(adapted[1], plain, atol=1e-2)
    merge_adapters(decoder)
    merged = [decoder(batch.sequence, architecture) for architecture in (None, SUBNET)]
    torch.testing.assert_close(merged, adapted, atol=1e-4, rtol=1e-4)
    assert tensors_to_save(decoder).keys() == tensors_to_save(load_decoder(family_folder)).keys()


@pytest.mark.parametrize("teacher", [True, False])
@pytest.mark.parametrize("method", ["lora", "full"])
def test_training_lowers_the_loss_of_full_and_sub_network(folder, tmp_path, method, teacher):
    batch = pack([example for example in EXAMPLES if example["labelled"]])

    def losses(decoder) -> list[float]:
        networks = decoder.shape.full, SUBNET
        logits = [decoder(batch.sequence, a).flatten(0, 1)[batch.rows] for a in networks]
        return [float(torch.nn.functional.cross_entropy(each, batch.targets)) for each in logits]

    before = losses(load_decoder(folder))

    def on_answers(decoder):
        return both(decoder, 0.2)

    decoder, rows = trained(folder, tmp_path, on_answers, teacher, steps=40, method=method)
    assert all(after < 0.9 * first for after, first in zip(losses(decoder), before, strict=True))
    assert len(rows) == 80 and {row["step"] for row in rows} == set(range(40))
    assert {row["subnet"] for row in rows} == {"full", SUBNET.id}


def test_what_a_sub_network_lacks_is_not_trained(folder, tmp_path):
    decoder, _ = trained(folder, tmp_path, lambda decoder: one_network(SUBNET, 0.3), method="full", weight_decay=0.1)
    start = load_decoder(folder)
    for layer, was in zip(decoder.layers, start.layers, strict=True):
        index = decoder.layers.index(layer)
        heads, width = SUBNET.sizes[index]
        assert torch.equal(layer.self_attn.q_proj.weight, was.self_attn.q_proj.weight) == (heads == 0)
        if width:
            assert not torch.equal(layer.mlp.up_proj.weight[:width], was.mlp.up_proj.weight[:width])
        else:
            assert torch.equal(layer.mlp.up_proj.weight, was.mlp.up_proj.weight)


def test_what_a_narrower_part_lacks_has_no_gradient(folder, tmp_path):
    decoder, _ = trained(folder, tmp_path, lambda decoder: one_network(SUBNET, 0.3), method="full", weight_decay=0.0)
    start = load_decoder(folder)
    for layer, was, (heads, width) in zip(decoder.layers, start.layers, SUBNET.sizes, strict=True):
        queries = 32 * heads  # two query heads of 16 values share a key-value head
        cuts = {"self_attn.q_proj": queries, "self_attn.k_proj": 16 * heads, "self_attn.v_proj": 16 * heads}
        cuts |= {"self_attn.o_proj": queries, "mlp.gate_proj": width, "mlp.up_proj": width, "mlp.down_proj": width}
        for name, kept in cuts.items():
            now, then = (each.get_submodule(name).weight for each in (layer, was))
            axis = 0 if name.endswith(("o_proj", "down_proj")) else 1  # o_proj and down_proj read the kept values
            changed = (now != then).any(dim=axis).tolist()
            assert changed == [True] * kept + [False] * (len(changed) - kept), name


def test_fine_tuning_leaves_wrong_choices_out(folder, tmp_path):
    _, rows = trained(folder, tmp_path / "a", lambda decoder: full_network(decoder.shape), False)
    labelled = [example for example in EXAMPLES if example["labelled"]]
    decoder = load_decoder(folder)
    plan = full_network(decoder.shape)
    assert training.train(decoder, plan, labelled, SETTINGS, 3, "float32", tmp_path / "b") == rows
    with pytest.raises(LlamaNasError, match="no example has a right answer"):
        wrong = [example for example in EXAMPLES if not example["labelled"]]
        training.train(load_decoder(folder), plan, wrong, SETTINGS, 3, "float32", tmp_path / "c")


def test_resumed_training_equals_an_unbroken_one(folder, tmp_path, monkeypatch):
    unbroken, losses = trained(folder, tmp_path / "a")
    step = training.schedule

    def killed(number, *about):
        if number == 5:
            raise KeyboardInterrupt
        return step(number, *about)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(training, "schedule", killed)
        trained(folder, tmp_path / "b")
    steps = []
    monkeypatch.setattr(training, "schedule", lambda *a: steps.append(a[0]) or step(*a))
    resumed, again = trained(folder, tmp_path / "b")
    assert steps == [4, 5] and again == losses
    assert_equal_weights(unbroken, resumed)


@pytest.mark.parametrize(
    "damage",
    [lambda state: state[:-300], lambda state: b"", lambda state: state[:900] + bytes([state[900] ^ 1]) + state[901:]],
    ids=["cut", "empty", "flipped"],
)
def test_a_damaged_state_is_not_taken_up(folder, tmp_path, monkeypatch, damage):
    _, losses = trained(folder, tmp_path)
    state = tmp_path / "state.zip"
    state.write_bytes(damage(state.read_bytes()))
    steps, step = [], training.schedule
    monkeypatch.setattr(training, "schedule", lambda *a: steps.append(a[0]) or step(*a))
    _, again = trained(folder, tmp_path)
    assert steps[0] == 0 and again == losses


@pytest.mark.parametrize("changes", [{"device_tokens": 16}, {"checkpointing": True}, {"compile": True}], ids=str)
def test_how_a_step_is_computed_changes_rounding_alone(folder, tmp_path, changes, monkeypatch):
    # Traced and differentiated by the compiler, but not translated to C++, which takes minutes.
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    plain, losses = trained(folder, tmp_path / "a", method="full", hidden_weight=0.1)
    other, again = trained(folder, tmp_path / "b", method="full", hidden_weight=0.1, **changes)
    pairs = [[row["loss"] for row in rows] for rows in (losses, again)]
    assert pairs[0] == pytest.approx(pairs[1], rel=2e-3)
    assert [row["tokens"] for row in losses] == [row["tokens"] for row in again]
    for name, tensor in tensors_to_save(plain).items():  # AdamW makes a whole step of a gradient that is nearly zero
        assert ((tensor - tensors_to_save(other)[name]).abs() > 2e-3).float().mean() < 0.01, name


def test_memory_decides_how_much_passes_at_once(folder, monkeypatch):
    decoder, gpu, memory = load_decoder(folder).requires_grad_(), torch.device("cuda"), SimpleNamespace()
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: memory)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 10**6)
    settings, one = SETTINGS | {"batch_tokens": 16384, "compile": True}, Team()

    def at_once(total, dtype="bfloat16", team=one, **changes):
        memory.total_memory = total
        return training._at_once(decoder, 3, settings | changes, gpu, dtype, False, team)

    fits, small = 10**9, 3 * 10**7
    assert at_once(fits) == (pytest.approx(5e8 / (4 * (8 * 64 + 3 * 64 + 4 * 128)), rel=0.02), False)
    assert 2 * at_once(fits, "float32")[0] < at_once(fits, compile=False)[0] + 10**4 < at_once(fits)[0]
    assert at_once(small, "float32") == (training.LEAST, True)
    assert at_once(small, "float32", checkpointing=False) == (training.LEAST, False)
    assert at_once(fits, device_tokens=100) == (100, False)
    assert at_once(fits)[0] == at_once(fits, team=Team(0, 4))[0] < at_once(fits, team=Team(0, 4, True))[0]


@pytest.mark.parametrize(
    ("shard", "count", "device", "memory", "divided"),
    [
        (True, 2, "cpu", 0, True),
        (False, 2, "cuda", 0, False),
        (True, 1, "cuda", 0, False),
        ("auto", 2, "cpu", 0, False),
        ("auto", 2, "cuda", 1.3, False),
        ("auto", 2, "cuda", 1.1, True),
    ],
)
def test_auto_divides_what_one_gpu_cannot_hold(folder, tmp_path, monkeypatch, shard, count, device, memory, divided):
    parameters = sum(parameter.numel() for parameter in load_decoder(folder).parameters())
    total = SimpleNamespace(total_memory=memory * 22 * parameters / 0.9)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: total)
    task = Training("heal", folder, tmp_path, [], SETTINGS | FULL, 3, "bfloat16", tmp_path, folder, shard=shard)
    assert stages._shards(device, Team(0, count), task) is divided


def test_compiled_sub_layers_serve_any_number_of_tokens_texts_and_networks(folder, monkeypatch):
    """The kernel that takes bounds needs a GPU; here one that sees all earlier tokens has its place."""

    def causal(q, k, v, *about, window_size):
        states = (t.transpose(0, 1) for t in (q, k, v))
        return torch.nn.functional.scaled_dot_product_attention(*states, is_causal=True).transpose(0, 1)

    graphs = []
    monkeypatch.setattr(decoder_module, "varlen_attn", causal)
    compiled = torch.compile(Layer.__call__, dynamic=False, backend=lambda graph, _: graphs.append(graph) or graph)
    call, decoder = training._of_any_size(compiled), load_decoder(folder)
    for count, tokens, texts in ((1, 60, 9), (2, 60, 9), (3, 60, 9), (1, 99, 9), (4, 99, 17)):
        batch = flatten(EXAMPLES[:texts], tokens, 8, "cpu")
        x, place = torch.randn(count, tokens, 64), decoder.place(batch.sequence).repeated(count)
        for layer in decoder.layers[:2]:
            for part in (SubLayer("attention", 2), SubLayer("attention", 1), SubLayer("mlp", 96)):
                torch.testing.assert_close(call(layer, x, place, part), layer(x, place, part))
    assert len(graphs) == 6  # two sizes of attention and an MLP, one network and several


@pytest.mark.parametrize("changes", [{}, {"device_tokens": 16}], ids=str)
def test_rounded_matrices_give_gradients_of_the_trained_ones(family_folder, tmp_path, changes):
    settings = {"method": "full", "steps": 1, "learning_rate": 1e-3, "warmup": 0.0, "batch_tokens": 60} | changes
    decoders, rows = zip(
        *(trained(family_folder, tmp_path / d, dtype=d, **settings) for d in ("float32", "bfloat16")), strict=True
    )
    assert [row["loss"] for row in rows[0]] == pytest.approx([row["loss"] for row in rows[1]], rel=0.03)
    start = tensors_to_save(load_decoder(family_folder))
    exact, rounded = ({n: t - start[n] for n, t in tensors_to_save(d).items()} for d in decoders)
    # AdamW's first step is the gradient's sign, which is unsure where it is near 0, as for the bias of all keys.
    for name, moved in exact.items():
        unsure = 0.4 if name.endswith("k_proj.bias") else 0.1
        assert moved.abs().max() > 0 and (moved.sign() != rounded[name].sign()).float().mean() < unsure, name


def test_resumed_training_in_bfloat16_equals_an_unbroken_one(folder, tmp_path):
    about = {"method": "full", "dtype": "bfloat16"}
    unbroken, losses = trained(folder, tmp_path / "a", **about)
    resumed, again = trained(folder, tmp_path / "a", **about)  # the last state is that of the last step
    assert again == losses
    assert_equal_weights(unbroken, resumed)


TWO = ["cpu", "cpu"]
FULL = {"method": "full", "learning_rate": 1e-3}


def run_stage(folder, target, devices, shard=True, stage="train_supernet", function=run_training, **changes):
    """What ``function`` returns of a training in a process on each device; the network as it was is its teacher."""
    decoder, batch = load_decoder(folder), pack(EXAMPLES)
    importance = unit_rows(decoder, batch, SPACE) + sensitivity_rows(decoder, batch, SPACE)
    dtype = changes.pop("dtype", "float32")
    settings = SETTINGS | {"strategy": "stratified", "steps": 4, "batch_tokens": 100, "smallest_share": 0.0} | changes
    task = Training(
        stage, folder, target / "model.safetensors", EXAMPLES, settings, 3, dtype, target / "state", folder, SPACE,
        importance, SUBNET if stage == "heal" else None, shard,
    )  # fmt: skip
    return run_together(function, devices, task)


def assert_alike(one, other, folders, tolerance=1e-4):
    for column in ("step", "subnet", "tokens", "stage"):
        assert [row[column] for row in one] == [row[column] for row in other]
    assert [row["loss"] for row in one] == pytest.approx([row["loss"] for row in other], rel=tolerance)
    weights, others = (load_file(folder / "model.safetensors") for folder in folders)
    assert weights.keys() == others.keys()
    for name, tensor in weights.items():
        torch.testing.assert_close(tensor, others[name], atol=tolerance, rtol=0)


@pytest.fixture
def in_order(monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")  # to be taken back
    add_in_one_order()
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert torch._inductor.config.deterministic
    yield
    torch.use_deterministic_algorithms(False)
    torch._inductor.config.deterministic = False


def test_deterministic_algorithms_train_in_every_process(folder, tmp_path, in_order):
    """Whether they give the same bytes on a GPU can be seen on one alone."""
    assert run_stage(folder, tmp_path, TWO, function=adds_in_one_order)
    folders = tmp_path / "ordered", tmp_path / "free"
    losses = run_stage(folder, folders[0], ["cpu"])
    torch.use_deterministic_algorithms(False)
    assert_alike(losses, run_stage(folder, folders[1], ["cpu"]), folders)
    assert not run_stage(folder, tmp_path, TWO, function=adds_in_one_order)


def test_two_processes_train_as_one(folder, tmp_path):
    folders = tmp_path / "one", tmp_path / "two"
    losses = run_stage(folder, folders[0], ["cpu"])
    assert_alike(losses, run_stage(folder, folders[1], TWO, shard="auto"), folders)
    assert {row["stage"] for row in losses} == {"train_supernet"}


@pytest.mark.parametrize(
    ("changes", "tolerance"),
    [
        (FULL | {"hidden_weight": 0.1}, 1e-4),
        ({"method": "lora"}, 1e-4),
        (FULL | {"stage": "heal", "device_tokens": 4, "checkpointing": True}, 1e-4),  # more parts than examples
        (FULL | {"dtype": "bfloat16"}, 5e-3),
    ],
    ids=["full", "lora", "parts", "bfloat16"],
)
def test_two_processes_that_divide_the_network_train_as_one(folder, tmp_path, changes, tolerance):
    folders = tmp_path / "one", tmp_path / "two"
    losses, norms, (full,) = run_stage(folder, folders[0], ["cpu"], function=watched, **changes)
    again, others, held = run_stage(folder, folders[1], TWO, function=watched, **changes)
    assert_alike(losses, again, folders, tolerance)
    assert len(norms) == 4 and norms == pytest.approx(others, rel=10 * tolerance)
    assert len(held) == 2
    for part in held:
        assert part == pytest.approx([size / 2 for size in full], rel=0.01)


def test_a_resumed_training_of_a_divided_network_equals_an_unbroken_one(folder, tmp_path):
    resumed, unbroken = run_stage(folder, tmp_path / "resumed", TWO, function=broken_and_unbroken, **FULL)
    assert_alike(unbroken, resumed, [tmp_path / "unbroken", tmp_path / "resumed"], 0)


def test_one_process_goes_on_with_adapters_that_two_have_divided(folder, tmp_path):
    folders = tmp_path / "unbroken", tmp_path / "resumed"
    with pytest.raises(LlamaNasError, match="killed"):
        run_stage(folder, folders[1], TWO, function=killed_in_the_fourth_step)
    assert [path.name for path in (folders[1] / "state").iterdir()] == ["state.zip"]
    resumed = run_stage(folder, folders[1], ["cpu"])
    assert_alike(run_stage(folder, folders[0], ["cpu"]), resumed, folders)


def test_a_state_of_other_weights_is_not_taken_up(folder, tmp_path, capsys):
    trained(folder, tmp_path, method="full")
    _, losses = trained(folder, tmp_path)
    assert "holds other weights" in capsys.readouterr().out and losses[0]["step"] == 0


def test_no_steps_leave_the_network_as_it_is(folder, tmp_path):
    decoder, rows = trained(folder, tmp_path, steps=0)
    assert rows == []
    assert_equal_weights(load_decoder(folder), decoder)


def test_loss_that_is_not_finite_is_named(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(
        training, "head_loss", lambda hidden, *a: (hidden.sum(), hidden.detach().sum((1, 2)) * float("nan"))
    )
    with pytest.raises(LlamaNasError, match="nan at step 0; lower the learning_rate"):
        trained(folder, tmp_path)


def test_auto_takes_adapters_for_large_networks_alone(folder, tmp_path, monkeypatch):
    whole, _ = trained(folder, tmp_path / "a", method="auto")
    assert_equal_weights(whole, trained(folder, tmp_path / "b", method="full")[0])
    monkeypatch.setattr(training, "LARGE", 1)
    adapted, _ = trained(folder, tmp_path / "c", method="auto")
    assert_equal_weights(adapted, trained(folder, tmp_path / "d", method="lora")[0])


def test_schedule_rises_and_falls():
    rates = [training.schedule(step, 100, 0.1) for step in range(100)]
    assert (
        max(rates) == rates[10] == 1.0 and rates[:11] == sorted(rates[:11]) and rates[10:] == sorted(rates[10:])[::-1]
    )
    assert 0.1 <= rates[-1] < 0.11
