"""Rule benchmark_accuracy: accuracy of an exported file on the report split."""

from llamanas.job import job

with job(snakemake) as run:
    from llamanas.benchmark.accuracy import accuracy_row
    from llamanas.models.families import read_config, shape_of

    items = [row for row in run.rows("questions") if row["split"] == "report"]
    settings = run.params["metric"], run.params["confidence"], run.params["max_tokens"]
    row = accuracy_row(run.source("network") / "model.onnx", items, *settings, run.snakemake.threads)
    shape = shape_of(read_config(run.source("config", weights=False) / "config.json"))
    run.write("accuracy", [row | run.exported(shape)])
