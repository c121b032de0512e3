"""The model card of an exported sub-network."""

from llamanas.architecture import Architecture, ModelShape
from llamanas.models.families import SUPPORTED


def model_card(shape: ModelShape, architecture: Architecture, license: str) -> str:
    """Markdown with the front matter that the Hugging Face hub reads."""
    full, kept = shape.full, architecture.kept_layers
    own, whole = architecture.parameters(shape), full.parameters(shape)
    alike = {(architecture.attention[i], architecture.intermediate_sizes[i]) for i in kept}
    plain = len(alike) == 1 and all(part for choice in alike for part in choice)
    option = "" if plain else ", trust_remote_code=True"
    code = (
        "All layers are alike, so that any tool for this family loads it."
        if plain
        else "Its layers differ, which no class of transformers provides for: the modeling file in this folder does."
    )
    rows = [
        f"| {number} | {layer} | {'yes' if architecture.attention[layer] else 'no'} "
        f"| {architecture.intermediate_sizes[layer] or 'no MLP'} |"
        for number, layer in enumerate(kept)
    ]
    return (
        f"""---
license: {license}
library_name: transformers
pipeline_tag: text-generation
tags: [neural-architecture-search, llama-nas]
---

# Sub-network {architecture.id} of a {SUPPORTED[shape.family]} network

{own:,} parameters, {own / whole:.1%} of the full network's {whole:,}; {len(kept)} of its {shape.layers} layers.
{code}

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained("this folder"{option})
tokenizer = AutoTokenizer.from_pretrained("this folder"{option})
```

The full network was fine-tuned once together with its sub-networks, and this one was chosen among them by a search for
the best trade-off between accuracy and size (the method of LLaMA-NAS, arXiv 2405.18377). Its weights are those of the
full network, cut out without further training. The base model's license ({license}) applies.

| layer | layer of the full network | attention | MLP width (full: {shape.intermediate_size}) |
| --- | --- | --- | --- |
"""
        + "\n".join(rows)
        + "\n"
    )
