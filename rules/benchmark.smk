"""Accuracy and speed of the exported files themselves."""


rule benchmark_accuracy:
    input:
        picks=picks_of,
        network=network_of,
        manifest=manifest_of,
        questions=rules.fetch_task.output.questions,
        config=rules.build_supernet.output.config,
    output:
        accuracy=RESULTS / "benchmark/{task}/{pick}/{precision}/accuracy.parquet",
    log:
        LOGS / "benchmark_accuracy/{task}/{pick}/{precision}.log",
    benchmark:
        LOGS / "benchmark_accuracy/{task}/{pick}/{precision}.tsv"
    conda:
        "../envs/models.yaml"
    resources:
        mem_mb=memory("benchmark_accuracy"),
        runtime=runtime("benchmark_accuracy"),
    params:
        **SHARED,
        version=3,
        metric=config["data"]["metric"],
        max_tokens=config["data"]["max_tokens"],
        confidence=config["select"]["confidence"],
    script:
        "../workflow/scripts/benchmark_accuracy.py"


rule benchmark_speed:
    input:
        unpack(torch_weights_of),
        picks=picks_of,
        network=network_of,
        manifest=manifest_of,
        full=reference_of,
        config=rules.build_supernet.output.config,
    output:
        speed=RESULTS / "benchmark/{task}/{pick}/{precision}/speed.parquet",
    log:
        LOGS / "benchmark_speed/{task}/{pick}/{precision}.log",
    benchmark:
        LOGS / "benchmark_speed/{task}/{pick}/{precision}.tsv"
    conda:
        "../envs/models.yaml"
    # All cores are reserved, so that no other local job disturbs the clock; compute.threads of them are used.
    threads: workflow.cores or config["compute"]["threads"]
    resources:
        gpu=timing_gpus,
        mem_mb=memory("benchmark_speed"),
        runtime=runtime("benchmark_speed"),
    params:
        **SHARED,
        version=6,
        benchmark=config["benchmark"],
    script:
        "../workflow/scripts/benchmark_speed.py"
