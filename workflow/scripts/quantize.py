"""Rule quantize: an ONNX network with fewer bits per weight, by a recipe of the configuration."""

from llamanas.job import job

with job(snakemake) as run:
    from llamanas.provenance import manifest_rows
    from llamanas.quantize.equalize import read_scales
    from llamanas.quantize.float16 import to_float16
    from llamanas.quantize.network import quantize_network
    from llamanas.quantize.plan import BLOCK, ways_of

    recipe = run.params["recipe"]
    source, target = run.source("network") / "model.onnx", run.path("network")
    if recipe["method"] == "float16":
        to_float16(source, target)
    else:
        blocks = recipe.get("block_size", BLOCK), recipe.get("symmetric", False)
        way, scales = ways_of(recipe, run.rows("bits")), read_scales(run.rows("scales"))
        quantize_network(source, target, way, *blocks, scales)
    run.write("manifest", manifest_rows(target.parent))
