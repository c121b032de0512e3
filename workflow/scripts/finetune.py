"""Rule finetune: train the full network on the answers; it becomes the teacher of its sub-networks."""

from llamanas.job import job

with job(snakemake) as run, run.devices() as devices:
    from llamanas.finetune.parallel import run_together
    from llamanas.finetune.stages import Training, run_training
    from llamanas.provenance import manifest_rows

    training = Training(
        "finetune", run.source("weights"), run.path("weights"), run.rows("instructions"), run.params["finetune"],
        run.seed(), run.params["compute"]["dtype"], run.resume, shard=run.shard,
    )  # fmt: skip
    run.write("losses", run_together(run_training, devices, training))
    run.write("manifest", manifest_rows(run.path("weights").parent))
