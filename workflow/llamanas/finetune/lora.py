"""Low-rank adapters by peft, shared by all sub-networks, and their merging into the weights."""

from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer

from llamanas.models.decoder import Decoder


def add_adapters(decoder: Decoder, settings: dict) -> None:
    """Wrap the linear layers that ``settings["targets"]`` names; only the adapters are trained."""
    config = LoraConfig(r=settings["rank"], lora_alpha=settings["alpha"], target_modules=list(settings["targets"]))
    inject_adapter_in_model(config, decoder)


def merge_adapters(decoder: Decoder) -> None:
    """Add every adapter to its layer's weights and leave plain linear layers behind."""
    wrapped = [(name, module) for name, module in decoder.named_modules() if isinstance(module, LoraLayer)]
    for name, module in wrapped:
        module.merge()
        parent, _, attribute = name.rpartition(".")
        setattr(decoder.get_submodule(parent), attribute, module.get_base_layer())
