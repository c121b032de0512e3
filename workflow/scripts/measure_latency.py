"""Rule measure_latency: what each part of a network adds to the time of a prompt and its continuation."""

import tempfile
from pathlib import Path

from llamanas.job import job

with job(snakemake) as run, run.device() as device, tempfile.TemporaryDirectory() as scratch:
    from llamanas.benchmark.engines import loader
    from llamanas.benchmark.latency import measure_latency, sum_error
    from llamanas.models.families import read_config, shape_of
    from llamanas.supernet.space import search_space

    source, settings = run.source("weights"), run.params["latency"]
    shape, threads = shape_of(read_config(source / "config.json")), run.params["compute"]["threads"]
    device = "cpu" if settings["runtime"] == "onnxruntime" else device
    load = loader(source, settings["runtime"], Path(scratch), threads, device, run.params["compute"]["dtype"])
    space = search_space(shape, run.params["space"])
    table, checks = measure_latency(space, shape, load, settings, threads, run.seed(), device)
    print(f"sums of parts are off by {sum_error(checks):.1%} (median of {len(checks)} networks)")
    run.write("latency", table)
    run.write("latency_checks", checks)
