"""The search of each task: a static chain of generations, each measured in chunks."""

ANSWERS = (
    {
        "answers": RESULTS
        / "search/{task}/generation-{generation}/answers/{scatteritem}.parquet"
    }
    if config["search"]["keep_answers"]
    else {}
)


# With racing, candidates run in heats, and only the survivors are measured on the other items.
RACING = config["search"]["racing"]
RACED = (
    {
        name: RESULTS / "search/{task}/generation-{generation}" / f"{name}.parquet"
        for name in ("survivors", "heats")
    }
    if RACING
    else {}
)


rule measure_latency:
    input:
        weights=rules.build_supernet.output.weights,
        manifest=rules.build_supernet.output.manifest,
    output:
        latency=RESULTS / "supernet/latency.parquet",
        latency_checks=RESULTS / "supernet/latency_checks.parquet",
    log:
        LOGS / "measure_latency.log",
    benchmark:
        LOGS / "measure_latency.tsv"
    conda:
        "../envs/models.yaml"
    # As in benchmark_speed: no other local job disturbs the clock.
    threads: workflow.cores or config["compute"]["threads"]
    resources:
        gpu=GPU * (config["search"]["latency"]["runtime"] == "pytorch"),
        mem_mb=memory("measure_latency"),
        runtime=runtime("measure_latency"),
    params:
        **SHARED,
        version=3,
        space=config["space"],
        latency=config["search"]["latency"],
    script:
        "../workflow/scripts/measure_latency.py"


rule propose_candidates:
    input:
        latency=rules.measure_latency.output.latency if LATENCY else [],
        archive=earlier_archive,
        published=rules.fetch_published.output.published if REPLAYS else [],
        config=rules.build_supernet.output.config,
        space=rules.build_supernet.output.space,
        importance=rules.build_supernet.output.importance,
    output:
        candidates=RESULTS / "search/{task}/generation-{generation}/candidates.parquet",
    log:
        LOGS / "propose_candidates/{task}/{generation}.log",
    benchmark:
        LOGS / "propose_candidates/{task}/{generation}.tsv"
    conda:
        "../envs/tables.yaml"
    resources:
        mem_mb=memory("propose_candidates"),
        runtime=runtime("propose_candidates"),
    params:
        **SHARED,
        version=5,
        space=config["space"],
        search=SEARCH,
        dtype=config["model"]["dtype"],
    script:
        "../workflow/scripts/propose_candidates.py"


rule evaluate_heat:
    input:
        candidates=rules.propose_candidates.output.candidates,
        questions=rules.fetch_task.output.questions,
        weights=rules.build_supernet.output.weights,
        manifest=rules.build_supernet.output.manifest,
    output:
        heats=RESULTS
        / "search/{task}/generation-{generation}/heats/{scatteritem}.parquet",
    log:
        LOGS / "evaluate_heat/{task}/{generation}/{scatteritem}.log",
    benchmark:
        LOGS / "evaluate_heat/{task}/{generation}/{scatteritem}.tsv"
    conda:
        "../envs/models.yaml"
    resources:
        gpu=GPU,
        mem_mb=memory("evaluate_heat"),
        runtime=runtime("evaluate_heat"),
    params:
        **SHARED,
        version=1,
        metric=config["data"]["metric"],
        share=config["search"]["racing_items"],
    script:
        "../workflow/scripts/evaluate_heat.py"


rule race_candidates:
    input:
        archive=earlier_archive,
        candidates=rules.propose_candidates.output.candidates,
        heats=lambda wildcards: [
            *earlier("heats", wildcards),
            *gather.chunks(str(rules.evaluate_heat.output.heats), **wildcards),
        ],
    output:
        survivors=RESULTS / "search/{task}/generation-{generation}/survivors.parquet",
        heats=RESULTS / "search/{task}/generation-{generation}/heats.parquet",
    log:
        LOGS / "race_candidates/{task}/{generation}.log",
    benchmark:
        LOGS / "race_candidates/{task}/{generation}.tsv"
    conda:
        "../envs/tables.yaml"
    resources:
        mem_mb=memory("race_candidates"),
        runtime=runtime("race_candidates"),
    params:
        **SHARED,
        version=1,
        search=SEARCH,
    script:
        "../workflow/scripts/race_candidates.py"


rule evaluate_chunk:
    input:
        **RACED,
        candidates=rules.propose_candidates.output.candidates,
        questions=rules.fetch_task.output.questions,
        weights=rules.build_supernet.output.weights,
        manifest=rules.build_supernet.output.manifest,
    output:
        **ANSWERS,
        scores=RESULTS
        / "search/{task}/generation-{generation}/scores/{scatteritem}.parquet",
    log:
        LOGS / "evaluate_chunk/{task}/{generation}/{scatteritem}.log",
    benchmark:
        LOGS / "evaluate_chunk/{task}/{generation}/{scatteritem}.tsv"
    conda:
        "../envs/models.yaml"
    resources:
        gpu=GPU,
        mem_mb=memory("evaluate_chunk"),
        runtime=runtime("evaluate_chunk"),
    params:
        **SHARED,
        version=3,
        metric=config["data"]["metric"],
    script:
        "../workflow/scripts/evaluate_chunk.py"


rule collect_generation:
    input:
        **RACED,
        archive=earlier_archive,
        candidates=rules.propose_candidates.output.candidates,
        questions=rules.fetch_task.output.questions,
        manifest=rules.build_supernet.output.manifest,
        scores=gather.chunks(
            str(
                RESULTS
                / "search/{{task}}/generation-{{generation}}/scores/{scatteritem}.parquet"
            )
        ),
    output:
        archive=RESULTS / "search/{task}/generation-{generation}/archive.parquet",
    log:
        LOGS / "collect_generation/{task}/{generation}.log",
    benchmark:
        LOGS / "collect_generation/{task}/{generation}.tsv"
    conda:
        "../envs/tables.yaml"
    resources:
        mem_mb=memory("collect_generation"),
        runtime=runtime("collect_generation"),
    params:
        **SHARED,
        version=1,
    script:
        "../workflow/scripts/collect_generation.py"
