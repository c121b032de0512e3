"""Rule benchmark_speed: speed of an exported file, timed in turn with the full network of the same precision."""

from llamanas.job import job

with job(snakemake) as run:
    from llamanas.benchmark.speed import measure_speed
    from llamanas.models.families import read_config, shape_of

    settings, threads = run.params["benchmark"], run.params["compute"]["threads"]
    pick, full = (run.source(name) / "model.onnx" for name in ("network", "full"))
    rows = measure_speed(pick, full, threads=threads, seed=run.seed(), **settings)
    exported = run.exported(shape_of(read_config(run.source("config", weights=False) / "config.json")))
    run.write("speed", [row | exported for row in rows])
