"""Picks as GGUF files for llama.cpp."""

GGUF_TYPES = config["export"]["gguf"]


rule export_gguf:
    input:
        unpack(weights_of),
        picks=picks_of,
    output:
        network=RESULTS / "gguf/{task}/{pick}/{gguf_type}/model.gguf",
        manifest=RESULTS / "gguf/{task}/{pick}/{gguf_type}/manifest.parquet",
    log:
        LOGS / "export_gguf/{task}/{pick}/{gguf_type}.log",
    benchmark:
        LOGS / "export_gguf/{task}/{pick}/{gguf_type}.tsv"
    conda:
        "../envs/models.yaml"
    resources:
        mem_mb=memory("export_gguf"),
        runtime=runtime("export_gguf"),
    params:
        **SHARED,
        version=3,
    script:
        "../workflow/scripts/export_gguf.py"


rule benchmark_gguf_accuracy:
    input:
        picks=picks_of,
        network=lambda wildcards: gguf_of(wildcards) / "model.gguf",
        manifest=lambda wildcards: gguf_of(wildcards) / "manifest.parquet",
        questions=rules.fetch_task.output.questions,
        config=rules.build_supernet.output.config,
    output:
        accuracy=RESULTS / "benchmark/{task}/{pick}/{gguf_type}/accuracy.parquet",
    log:
        LOGS / "benchmark_gguf_accuracy/{task}/{pick}/{gguf_type}.log",
    benchmark:
        LOGS / "benchmark_gguf_accuracy/{task}/{pick}/{gguf_type}.tsv"
    conda:
        "../envs/models.yaml"
    resources:
        mem_mb=memory("benchmark_gguf_accuracy"),
        runtime=runtime("benchmark_gguf_accuracy"),
    params:
        **SHARED,
        version=1,
        metric=config["data"]["metric"],
        max_tokens=config["data"]["max_tokens"],
        confidence=config["select"]["confidence"],
    script:
        "../workflow/scripts/benchmark_gguf_accuracy.py"


GGUF_FILES = sorted(
    {
        str(
            RESULTS
            / "gguf"
            / network_task(task, pick)
            / pick
            / gguf_type
            / "model.gguf"
        )
        for task in config["tasks"]
        for pick in EXPORTED
        for gguf_type in GGUF_TYPES
    }
)
GGUF_ACCURACY = [
    RESULTS / "benchmark" / task / pick / gguf_type / "accuracy.parquet"
    for task in config["tasks"]
    for pick in EXPORTED
    for gguf_type in GGUF_TYPES
    if config["export"]["gguf_accuracy"]
]
