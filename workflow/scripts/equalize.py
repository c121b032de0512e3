"""Rule equalize: scales of the inputs of a pick's matrix products, which quantization then rounds less."""

from llamanas.job import job

with job(snakemake) as run, run.device() as device:
    from llamanas.models.families import read_config, shape_of
    from llamanas.quantize.calibration import calibration_tokens
    from llamanas.quantize.equalize import scale_rows

    source = run.source("weights")
    tokens = calibration_tokens(run.rows("instructions"), run.params["calibration_tokens"], run.seed("calibration"))
    architecture = run.architecture(shape_of(read_config(source / "config.json")))
    run.write("scales", scale_rows(source, architecture, tokens, device))
