"""Weights divided between the processes of a training by FSDP2, with their gradients and moments.

Attention and MLP of a layer are gathered each by itself when it is computed, since sub-networks skip them one by one;
what lies outside of them, embedding and head above all, is whole from the beginning of a pass to its end.
"""

import warnings

import torch
import torch.distributed as dist
from torch import Tensor

from llamanas.models.decoder import Decoder


def shard(decoder: Decoder, dtype: str) -> None:
    """Leave this process its part of each weight, on its device; all processes must hold the same decoder.

    In bfloat16, attention and MLP are rounded before they are gathered, and gradients are added up in float32.
    """
    # Here, since it takes a second to import, and most trainings have one process.
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method

    # Attention and MLP return views, which are added to the residual stream and never changed in place.
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view tensor")
    mesh = init_device_mesh("cuda" if dist.get_backend() == "nccl" else "cpu", (dist.get_world_size(),))
    # Autocast chooses the type of what is multiplied, as it does without sharding.
    rounded = MixedPrecisionPolicy(torch.bfloat16, torch.float32, cast_forward_inputs=False)
    policy = rounded if dtype == "bfloat16" else MixedPrecisionPolicy()
    for layer in decoder.layers:
        for part in (layer.self_attn, layer.mlp):
            fully_shard(part, mesh=mesh, mp_policy=policy)
    fully_shard(decoder, mesh=mesh, reshard_after_forward=False)  # the loss multiplies by the head after the pass
    register_fsdp_forward_method(decoder, "hidden_at")
    for module in decoder.modules():
        if isinstance(module, FSDPModule):  # add gradients up, do not average them; gloo can do no other
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)


def whole(tensor: Tensor) -> Tensor:
    """The tensor on the CPU. One that is divided is gathered, for which all processes must ask at the same time."""
    if hasattr(tensor, "full_tensor"):  # a DTensor, whose module is not imported where nothing is divided
        tensor = tensor.full_tensor()
    return tensor.detach().cpu().contiguous()


def placed(tensor: Tensor, like: Tensor) -> Tensor:
    """A whole tensor on the device of ``like``, and divided as it is."""
    tensor = tensor.to(like.device)
    if not hasattr(like, "device_mesh") or not hasattr(like, "placements"):
        return tensor
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(tensor, like.device_mesh, like.placements, src_data_rank=None)  # each takes its own part
