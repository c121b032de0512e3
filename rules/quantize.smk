"""Picks as files of their own: a Hugging Face folder, and ONNX at each precision."""


rule extract_subnet:
    input:
        unpack(weights_of),
        picks=picks_of,
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
        version=1,
        license=config["model"]["source"].get("license", "unknown"),
    script:
        "../workflow/scripts/extract_subnet.py"


rule export_onnx:
    input:
        unpack(weights_of),
        picks=picks_of,
    output:
        network=RESULTS / "onnx/{task}/{pick}/fp32/model.onnx",
        data=RESULTS / "onnx/{task}/{pick}/fp32/model.onnx.data",
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


rule quantize:
    input:
        network=rules.export_onnx.output.network,
        data=rules.export_onnx.output.data,
    output:
        network=RESULTS / "onnx/{task}/{pick}/int8/model.onnx",
        data=RESULTS / "onnx/{task}/{pick}/int8/model.onnx.data",
    log:
        LOGS / "quantize/{task}/{pick}.log",
    benchmark:
        LOGS / "quantize/{task}/{pick}.tsv"
    conda:
        "../envs/models.yaml"
    resources:
        mem_mb=memory("quantize"),
        runtime=runtime("quantize"),
    params:
        **SHARED,
        version=1,
    script:
        "../workflow/scripts/quantize.py"
