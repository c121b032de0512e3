"""Rule measure_bits: what quantizing each matrix product of a pick alone does to its predictions."""

from llamanas.job import job

with job(snakemake) as run, run.device() as device:
    from llamanas.models.families import read_config, shape_of
    from llamanas.quantize.calibration import calibration_tokens
    from llamanas.quantize.equalize import read_scales
    from llamanas.quantize.sensitivity import bits_rows

    source = run.source("weights")
    tokens = calibration_tokens(run.rows("instructions"), run.params["calibration_tokens"], run.seed("calibration"))
    architecture = run.architecture(shape_of(read_config(source / "config.json")))
    run.write("bits", bits_rows(source, architecture, tokens, device, read_scales(run.rows("scales"))))
