"""Rule measure_bits: what quantizing each matrix product of a pick alone does to its predictions."""

from llamanas.job import job

with job(snakemake) as run, run.device() as device:
    from llamanas.data.packing import epochs
    from llamanas.models.families import read_config, shape_of
    from llamanas.quantize.sensitivity import bits_rows

    source, count = run.source("weights"), run.params["calibration_tokens"]
    examples = next(epochs(run.rows("instructions"), count, run.seed("calibration")))
    tokens = [token for example in examples for token in (*example["prompt"], *example["answer"])][:count]
    architecture = run.architecture(shape_of(read_config(source / "config.json")))
    run.write("bits", bits_rows(source, architecture, tokens, device))
