"""Trainings that are watched or killed, in a module that new processes can import."""

from dataclasses import replace

import pytest
import torch
import torch.distributed as dist

from llamanas.errors import LlamaNasError
from llamanas.finetune import train as training
from llamanas.finetune.sharded import whole
from llamanas.finetune.stages import run_training


def watched(device, team, task):
    """Losses, norms of gradients, and how many weights and moments each process holds when a state is first saved."""
    sizes, norms, save, clip = [], [], training._save, torch.nn.utils.clip_grad_norm_

    def saved(path, trained, optimizer, step, losses, team):
        states = [{"weight": weight, **optimizer.state.get(weight, {})} for weight in trained.values()]
        tensors = ([state[kind] for state in states if kind in state] for kind in ("weight", "exp_avg", "exp_avg_sq"))
        sizes.append([sum((t.to_local() if team.shards else t).numel() for t in each) for each in tensors])
        save(path, trained, optimizer, step, losses, team)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "_save", saved)
        patch.setattr(torch.nn.utils, "clip_grad_norm_", lambda *about: norms.append(float(whole(clip(*about)))))
        losses = run_training(device, team, task)
    held = [sizes[0]] * team.count
    if team.count > 1:
        dist.all_gather_object(held, sizes[0])
    return losses, norms, held


def killed_in_the_fourth_step(device, team, task):
    schedule = training.schedule

    def stopped(step, *about):
        if step == 3:
            raise LlamaNasError("killed")
        return schedule(step, *about)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "schedule", stopped)
        return run_training(device, team, task)


def broken_and_unbroken(device, team, task):
    with pytest.raises(LlamaNasError, match="killed"):
        killed_in_the_fourth_step(device, team, task)
    other = task.destination.parent.with_name("unbroken")
    unbroken = replace(task, destination=other / "model.safetensors", resume=other / "state")
    return [run_training(device, team, each) for each in (task, unbroken)]


def adds_in_one_order(device, team, task):
    """Whether this process computes by deterministic algorithms."""
    return torch.are_deterministic_algorithms_enabled()
