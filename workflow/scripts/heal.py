"""Rule heal: train a pick alone for a short while, with the fine-tuned network as its teacher."""

from llamanas.job import job

with job(snakemake) as run, run.devices() as devices:
    from llamanas.finetune.parallel import run_together
    from llamanas.finetune.stages import Training, run_training
    from llamanas.models.families import read_config, shape_of
    from llamanas.provenance import manifest_rows

    architecture = run.architecture(shape_of(read_config(run.source("supernet") / "config.json")))
    training = Training(
        "heal", run.source("supernet"), run.path("weights"), run.rows("instructions"), run.params["heal"],
        run.seed(*run.wildcards), run.params["compute"]["dtype"], run.resume,
        teacher=run.source("teacher"), architecture=architecture, shard=run.shard,
    )  # fmt: skip
    run.write("losses", run_together(run_training, devices, training))
    run.write("manifest", manifest_rows(run.path("weights").parent))
