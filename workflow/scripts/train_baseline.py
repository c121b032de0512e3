"""Rule train_baseline: prune the fine-tuned network by one method to one size, train it alone, measure it."""

from llamanas.job import job

with job(snakemake) as run, run.devices() as devices:
    import torch
    from llamanas.baselines.measure import baseline_rows, prepare
    from llamanas.finetune.parallel import run_together
    from llamanas.finetune.stages import run_training

    training = prepare(run, devices[0])
    torch.cuda.empty_cache()  # the first process of the team needs the room
    losses = run_together(run_training, devices, training)
    run.write("losses", losses)
    run.write("baselines", baseline_rows(run, training, losses, devices[0]))
