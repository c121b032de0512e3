"""Rule export_gguf: a pick as a GGUF file for llama.cpp."""

from llamanas.job import job

with job(snakemake) as run:
    from llamanas.export.gguf import write_gguf
    from llamanas.models.families import read_config, shape_of
    from llamanas.provenance import manifest_rows

    source = run.source("weights")
    shape = shape_of(read_config(source / "config.json"))
    kind, threads = run.wildcards["gguf_type"], run.snakemake.threads
    write_gguf(source, run.architecture(shape), run.path("network"), kind, threads)
    run.write("manifest", manifest_rows(run.path("network").parent))
