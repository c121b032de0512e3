"""One page and one table that say what was found and how sure it is."""

ACCURACY, SPEED = (
    [
        str(
            RESULTS
            / "benchmark"
            / place(task, pick)
            / pick
            / precision
            / f"{kind}.parquet"
        )
        for task in config["tasks"]
        for pick in EXPORTED
        for precision in config["export"]["precisions"]
    ]
    for kind, place in (("accuracy", lambda task, pick: task), ("speed", network_task))
)

HEALING = (
    {
        "healing": [
            RESULTS / "heal" / task / pick / "healing.parquet"
            for task in config["tasks"]
            for pick in EXPORTED
            if pick != "full"
        ]
    }
    if HEALED
    else {}
)


REPORTED = dict(
    **HEALING,
    baselines=made_baselines,
    # Of a single task there is nowhere to go.
    transfer=(
        expand(rules.evaluate_transfer.output.transfer, task=config["tasks"])
        if len(config["tasks"]) > 1
        else []
    ),
    archive=expand(rules.expect_scores.input.archive, task=config["tasks"]),
    questions=expand(rules.fetch_task.output.questions, task=config["tasks"]),
    front=expand(rules.select_front.output.front, task=config["tasks"]),
    picks=expand(rules.select_front.output.picks, task=config["tasks"]),
    accuracy=ACCURACY,
    speed=sorted(set(SPEED)),
    losses=[rules.finetune.output.losses, rules.train_supernet.output.losses],
    importance=rules.build_supernet.output.importance,
    latency_checks=rules.measure_latency.output.latency_checks if LATENCY else [],
    space=rules.build_supernet.output.space,
    manifest=rules.build_supernet.output.manifest,
    config=rules.build_supernet.output.config,
    folders=expand(
        RESULTS / "subnets/{task}/{pick}/manifest.parquet",
        task=config["tasks"],
        pick=config["export"]["picks"],
    ),
)


rule collect_usage:
    input:
        **REPORTED,
    output:
        resources=RESULTS / "report/resources.parquet",
    log:
        LOGS / "collect_usage.log",
    benchmark:
        LOGS / "collect_usage.tsv"
    conda:
        "../envs/report.yaml"
    resources:
        mem_mb=memory("collect_usage"),
        runtime=runtime("collect_usage"),
    params:
        **SHARED,
        version=1,
        logs=str(LOGS),
        settings=config,
    script:
        "../workflow/scripts/collect_usage.py"


rule report:
    input:
        **REPORTED,
        resources=rules.collect_usage.output.resources,
    output:
        summary=RESULTS / "report/summary.parquet",
        configuration=RESULTS / "report/experiment.json",
        page=described(
            RESULTS / "report/index.html", "page", "Report", what="the whole report"
        ),
        fronts=drawings("fronts", "Fronts", "accuracy against size"),
        architectures=drawings(
            "architectures", "Architectures", "picks, layer by layer"
        ),
        probabilities=drawings("probabilities", "Architectures", "what the front keeps"),
    log:
        LOGS / "report.log",
    benchmark:
        LOGS / "report.tsv"
    conda:
        "../envs/report.yaml"
    resources:
        mem_mb=memory("report"),
        runtime=runtime("report"),
    params:
        **SHARED,
        version=11,
        settings=config,
        # The costs of the jobs, read if they are there. No input, since who deletes his logs would train again.
        logs=str(LOGS),
    script:
        "../workflow/scripts/report.py"


rule record_run:
    input:
        rules.report.output,
        expand(rules.select_front.output, task=config["tasks"]),
    output:
        crate=RESULTS / "report/ro-crate-metadata.json",
        workflow=RESULTS / "report/Snakefile",
        inventory=RESULTS / "inventory.parquet",
    log:
        LOGS / "record_run.log",
    benchmark:
        LOGS / "record_run.tsv"
    conda:
        "../envs/report.yaml"
    resources:
        mem_mb=memory("record_run"),
        runtime=runtime("record_run"),
    params:
        **SHARED,
        version=2,
        settings=config,
        logs=str(LOGS),
    script:
        "../workflow/scripts/record_run.py"
