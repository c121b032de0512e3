"""The trainings of the workflow: from one folder of weights to another, in one process or several."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from llamanas.architecture import Architecture
from llamanas.finetune.parallel import Team
from llamanas.finetune.strategies import Plan, Sampler, full_network, one_network, super_network
from llamanas.finetune.train import train, trains_adapters
from llamanas.models.decoder import Decoder, load_decoder
from llamanas.models.families import read_config, shape_of
from llamanas.supernet.build import copy_companions, write_weights
from llamanas.supernet.ladder import Ladder
from llamanas.supernet.order import full_bands, order_units, unit_orders
from llamanas.supernet.space import search_space


@dataclass(frozen=True)
class Training:
    """What a training needs to know, fit to be sent to another process.

    ``stage`` is finetune, train_supernet, heal or baseline. ``teacher`` is the folder of a network to learn from. The
    importance orders channels and heads before a super-network is trained; ``architecture`` is the only network to
    train; ``shard`` is `compute.shard` of the configuration.
    """

    stage: str
    source: Path
    destination: Path
    examples: list[dict]
    settings: dict
    seed: int
    dtype: str
    resume: Path
    teacher: Path | None = None
    space: dict = field(default_factory=dict)
    importance: list[dict] = field(default_factory=list)
    architecture: Architecture | None = None
    shard: bool | str = False

    def plan(self, decoder: Decoder) -> Plan:
        """The passes of each step."""
        if self.architecture:
            return one_network(self.architecture, self.settings["answer_weight"])
        if self.stage == "finetune":
            return full_network(decoder.shape)
        space = search_space(decoder.shape, self.space)
        ladder = Ladder(space, self.importance) if self.settings["sampling"] == "ladder" else None
        return super_network(self.settings, Sampler(space, decoder.shape, self.settings, ladder), self.seed)


def run_training(device: str, team: Team, training: Training) -> list[dict]:
    """Train on one device of a team; the leading process writes the weights. Returns rows of artifact ``losses``."""
    team = replace(team, shards=team.agreed(_shards(device, team, training)))
    decoder = load_decoder(training.source, "cpu" if team.shards else device)
    if training.stage == "train_supernet":
        order_units(decoder, unit_orders(training.importance, full_bands(decoder.shape)))
    teacher = load_decoder(training.teacher, device, training.dtype) if training.teacher else None
    about = training.settings, training.seed, training.dtype, training.resume, teacher, team
    losses = train(decoder, training.plan(decoder), training.examples, *about)
    if team.leads or team.shards:
        write_weights(decoder, training.destination, team.leads)
    if team.leads:
        copy_companions(training.source, training.destination.parent)
    return [row | {"stage": training.stage} for row in losses]


def _shards(device: str, team: Team, training: Training) -> bool:
    """Whether the network is divided; `auto` does so where one GPU cannot hold what a replica keeps all the time.

    That are the weights, gradients and moments (and rounded copies, in bfloat16) of what is trained, and the teacher,
    for which three quarters of the memory are there; the rest is for activations.
    """
    if team.count == 1 or training.shard != "auto" or device == "cpu":
        return team.count > 1 and training.shard is True
    shape = shape_of(read_config(training.source / "config.json"))
    parameters, narrow = shape.full.parameters(shape), training.dtype == "bfloat16"
    each = 4 if trains_adapters(parameters, training.settings) else 20 if narrow else 16
    if training.teacher:
        each += 2 if narrow else 4
    return each * parameters > 0.75 * torch.cuda.get_device_properties(device).total_memory
