"""Picks as files of their own: a Hugging Face folder, and ONNX at each precision."""

CARD = dict(
    license=config["model"]["source"].get("license", "unknown"),
    card={
        "source": config["model"]["source"],
        "metric": config["data"]["metric"],
        "confidence": config["select"]["confidence"],
        "tasks": config["tasks"],
        "instructions": config["instructions"],
        "steps": {
            stage: config[stage]["steps"] for stage in ("finetune", "supernet", "heal")
        },
    },
)


rule extract_subnet:
    input:
        unpack(weights_of),
        picks=picks_of,
        healing=healing_of,
    output:
        weights=RESULTS / "subnets/{task}/{pick}/model.safetensors",
        config=RESULTS / "subnets/{task}/{pick}/config.json",
        manifest=RESULTS / "subnets/{task}/{pick}/manifest.parquet",
    log:
        LOGS / "extract_subnet/{task}/{pick}.log",
    benchmark:
        LOGS / "extract_subnet/{task}/{pick}.tsv"
    conda:
        "../envs/models.yaml"
    resources:
        mem_mb=memory("extract_subnet"),
        runtime=runtime("extract_subnet"),
    params:
        **SHARED,
        **CARD,
        version=5,
        variant="",
    script:
        "../workflow/scripts/extract_subnet.py"


use rule extract_subnet as extract_variant with:
    output:
        weights=RESULTS / "{variant}/{task}/{pick}/model.safetensors",
        config=RESULTS / "{variant}/{task}/{pick}/config.json",
        manifest=RESULTS / "{variant}/{task}/{pick}/manifest.parquet",
    log:
        LOGS / "extract_variant/{variant}/{task}/{pick}.log",
    benchmark:
        LOGS / "extract_variant/{variant}/{task}/{pick}.tsv"
    resources:
        mem_mb=memory("extract_variant"),
        runtime=runtime("extract_variant"),
    params:
        **SHARED,
        **CARD,
        version=5,
        variant=lambda wildcards: wildcards.variant,


VARIANTS = [
    RESULTS / variant / task / pick / "manifest.parquet"
    for variant in config["export"]["variants"]
    for task in config["tasks"]
    for pick in EXPORTED[1:]  # the full network's layers are alike
]


rule export_onnx:
    input:
        unpack(weights_of),
        picks=picks_of,
    output:
        network=RESULTS / "onnx/{task}/{pick}/fp32/model.onnx",
        data=RESULTS / "onnx/{task}/{pick}/fp32/model.onnx.data",
        manifest=RESULTS / "onnx/{task}/{pick}/fp32/manifest.parquet",
    log:
        LOGS / "export_onnx/{task}/{pick}.log",
    benchmark:
        LOGS / "export_onnx/{task}/{pick}.tsv"
    conda:
        "../envs/models.yaml"
    resources:
        mem_mb=memory("export_onnx"),
        runtime=runtime("export_onnx"),
    params:
        **SHARED,
        version=1,
    script:
        "../workflow/scripts/export_onnx.py"


rule equalize:
    input:
        unpack(weights_of),
        picks=picks_of,
        instructions=rules.fetch_instructions.output.instructions,
    output:
        scales=RESULTS / "onnx/{task}/{pick}/scales.parquet",
    log:
        LOGS / "equalize/{task}/{pick}.log",
    benchmark:
        LOGS / "equalize/{task}/{pick}.tsv"
    conda:
        "../envs/models.yaml"
    threads: config["compute"]["threads"]
    resources:
        gpu=GPU,
        mem_mb=memory("equalize"),
        runtime=runtime("equalize"),
    params:
        **SHARED,
        version=1,
        calibration_tokens=config["quantize"]["calibration_tokens"],
    script:
        "../workflow/scripts/equalize.py"


rule measure_bits:
    input:
        unpack(weights_of),
        picks=picks_of,
        instructions=rules.fetch_instructions.output.instructions,
        scales=rules.equalize.output.scales,
    output:
        bits=RESULTS / "onnx/{task}/{pick}/bits.parquet",
    log:
        LOGS / "measure_bits/{task}/{pick}.log",
    benchmark:
        LOGS / "measure_bits/{task}/{pick}.tsv"
    conda:
        "../envs/models.yaml"
    threads: config["compute"]["threads"]
    resources:
        gpu=GPU,
        mem_mb=memory("measure_bits"),
        runtime=runtime("measure_bits"),
    params:
        **SHARED,
        version=2,
        calibration_tokens=config["quantize"]["calibration_tokens"],
    script:
        "../workflow/scripts/measure_bits.py"


rule quantize:
    input:
        unpack(bits_of),
        unpack(scales_of),
        network=rules.export_onnx.output.network,
        data=rules.export_onnx.output.data,
        manifest=rules.export_onnx.output.manifest,
    output:
        network=RESULTS / "onnx/{task}/{pick}/{recipe}/model.onnx",
        data=RESULTS / "onnx/{task}/{pick}/{recipe}/model.onnx.data",
        manifest=RESULTS / "onnx/{task}/{pick}/{recipe}/manifest.parquet",
    log:
        LOGS / "quantize/{task}/{pick}/{recipe}.log",
    benchmark:
        LOGS / "quantize/{task}/{pick}/{recipe}.tsv"
    conda:
        "../envs/models.yaml"
    resources:
        mem_mb=memory("quantize"),
        runtime=runtime("quantize"),
    params:
        **SHARED,
        version=3,
        recipe=lambda wildcards: RECIPES[wildcards.recipe],
    script:
        "../workflow/scripts/quantize.py"
