"""Rule benchmark_speed: speed of an exported file, timed in turn with the full network's."""

from llamanas.job import job

with job(snakemake) as run:
    from llamanas.benchmark.engines import onnx_rows, torch_rows
    from llamanas.devices import ONNX_ON_GPU, check_runtimes
    from llamanas.models.families import read_config, shape_of

    settings = run.params["benchmark"], run.params["compute"]["threads"], run.seed()
    shape = shape_of(read_config(run.source("config", weights=False) / "config.json"))
    pick, full = (run.source(name) / "model.onnx" for name in ("network", "full"))
    runtimes, on_gpu = run.params["benchmark"]["runtimes"], []
    if providers := [ONNX_ON_GPU[name] for name in runtimes if name in ONNX_ON_GPU]:  # first: what lacks is told early
        with run.device() as device:
            check_runtimes(runtimes, device != "cpu")
            on_gpu = [row for provider in providers for row in onnx_rows(pick, full, *settings, device, provider)]
    rows = list(onnx_rows(pick, full, *settings))
    if "weights" in run.input.keys():
        with run.device() as device:
            torch_pick = run.source("weights"), run.architecture(shape)
            compute = device, run.params["compute"]["dtype"]
            rows += torch_rows(torch_pick, run.source("config"), *settings, *compute)
    run.write("speed", [row | run.exported(shape) for row in rows + on_gpu])
