"""Rule train_supernet: train the full network and its sub-networks together, once for all tasks."""

from llamanas.job import job

with job(snakemake) as run, run.devices() as devices:
    from llamanas.finetune.parallel import run_together
    from llamanas.finetune.stages import Training, run_training
    from llamanas.provenance import manifest_rows

    settings = run.params["supernet"]
    taught = settings["teacher"] == "finetuned" and settings["strategy"] != "alternate"
    training = Training(
        "train_supernet", run.source("weights"), run.path("weights"), run.rows("instructions"), settings,
        run.seed(), run.params["compute"]["dtype"], run.resume,
        teacher=run.source("weights") if taught else None,
        space=run.params["space"], importance=run.rows("importance"), shard=run.shard,
    )  # fmt: skip
    run.write("losses", run_together(run_training, devices, training))
    run.write("manifest", manifest_rows(run.path("weights").parent))
