"""Rule quantize: an ONNX network with 8-bit weights."""

from pathlib import Path

from llamanas.job import job

with job(snakemake) as run:
    from llamanas.quantize.int8 import quantize_int8

    quantize_int8(Path(run.input["network"]), run.path("network"))
