"""The trainings of the workflow: from one folder of weights to another, in one process or several."""

from dataclasses import dataclass, field
from pathlib import Path

from llamanas.architecture import Architecture
from llamanas.finetune.parallel import Team
from llamanas.finetune.strategies import Plan, Sampler, full_network, one_network, super_network
from llamanas.finetune.train import train
from llamanas.models.decoder import Decoder, load_decoder
from llamanas.supernet.build import copy_companions, write_weights
from llamanas.supernet.ladder import Ladder
from llamanas.supernet.order import channel_orders, order_channels
from llamanas.supernet.space import search_space


@dataclass(frozen=True)
class Training:
    """What a training needs to know, fit to be sent to another process.

    ``stage`` is finetune, train_supernet, heal or baseline. ``teacher`` is the folder of a network to learn from. The
    importance orders the channels before a super-network is trained; ``architecture`` is the one network to train.
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
    decoder = load_decoder(training.source, device)
    if training.stage == "train_supernet":
        order_channels(decoder, channel_orders(training.importance, [decoder.shape.intermediate_size]))
    teacher = load_decoder(training.teacher, device, training.dtype) if training.teacher else None
    about = training.settings, training.seed, training.dtype, training.resume, teacher, team
    losses = train(decoder, training.plan(decoder), training.examples, *about)
    if team.leads:
        write_weights(decoder, training.destination)
        copy_companions(training.source, training.destination.parent)
    return [row | {"stage": training.stage} for row in losses]
