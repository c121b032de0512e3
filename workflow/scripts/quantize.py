"""Rule quantize: an ONNX network with 8-bit weights."""

from llamanas.job import job

with job(snakemake) as run:
    from llamanas.provenance import manifest_rows
    from llamanas.quantize.int8 import quantize_int8

    quantize_int8(run.source("network") / "model.onnx", run.path("network"))
    run.write("manifest", manifest_rows(run.path("network").parent))
