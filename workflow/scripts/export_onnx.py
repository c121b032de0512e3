"""Rule export_onnx: a pick as an ONNX graph with key-value cache, in float32."""

from llamanas.job import job

with job(snakemake) as run:
    from llamanas.export.onnx import write_onnx
    from llamanas.models.families import read_config, shape_of
    from llamanas.provenance import manifest_rows

    source = run.source("weights")
    shape = shape_of(read_config(source / "config.json"))
    write_onnx(source, run.architecture(shape), run.path("network").parent)
    run.write("manifest", manifest_rows(run.path("network").parent))
