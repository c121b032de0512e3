"""Rule benchmark_gguf_accuracy: accuracy of a GGUF file, in llama.cpp, on the report split."""

from llamanas.job import job

with job(snakemake) as run:
    from llamanas.benchmark.gguf import gguf_accuracy_row
    from llamanas.models.families import read_config, shape_of

    items = [row for row in run.rows("questions") if row["split"] == "report"]
    settings = run.params["metric"], run.params["confidence"], run.params["max_tokens"]
    row = gguf_accuracy_row(run.source("network") / "model.gguf", items, *settings, run.snakemake.threads)
    run.write("accuracy", [row | run.exported(shape_of(read_config(run.input["config"])))])
