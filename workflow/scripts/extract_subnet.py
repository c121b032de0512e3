"""Rules extract_subnet and extract_variant: a pick as a stand-alone Hugging Face folder."""

from llamanas.job import job

with job(snakemake) as run:
    from llamanas.export.card import Run
    from llamanas.export.huggingface import write_folder
    from llamanas.models.families import read_config, shape_of
    from llamanas.provenance import manifest_rows, package_versions

    source, destination = run.source("weights"), run.path("weights").parent
    shape = shape_of(read_config(source / "config.json"))
    picked = next((row for row in run.rows("picks") if row["pick"] == run.wildcards.pick), {})
    healed = next(iter(run.rows("healing")), {})
    about = Run(
        run.wildcards.task, run.wildcards.pick, run.seed_root, package_versions(), run.params["card"], picked, healed
    )  # fmt: skip
    write_folder(source, run.architecture(shape), destination, run.params["license"], about, run.params["variant"])
    run.write("manifest", manifest_rows(destination))
