"""Rule extract_subnet: a pick as a stand-alone Hugging Face folder."""

from llamanas.job import job

with job(snakemake) as run:
    from llamanas.export.huggingface import write_folder
    from llamanas.models.families import read_config, shape_of
    from llamanas.provenance import manifest_rows

    source, destination = run.source("weights"), run.path("weights").parent
    shape = shape_of(read_config(source / "config.json"))
    write_folder(source, run.architecture(shape), destination, run.params["license"])
    run.write("manifest", manifest_rows(destination))
