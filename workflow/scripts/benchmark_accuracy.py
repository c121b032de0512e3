"""Rule benchmark_accuracy: accuracy of an exported file on the report split, by lm-eval."""

from pathlib import Path

from llamanas.job import job

with job(snakemake) as run:
    from llamanas.benchmark.accuracy import accuracy_row
    from llamanas.data.tasks import load_tasks
    from llamanas.models.families import read_config, shape_of
    from llamanas.settings import existing

    data = run.params["data"]
    tasks = load_tasks(run.wildcards.task, [existing(folder) for folder in data["task_folders"]], data["few_shot"])
    items = [row for row in run.rows("questions") if row["split"] == "report"]
    network, tokenizer, threads = Path(run.input["network"]), run.source("config"), run.snakemake.threads
    settings = data["metric"], run.params["confidence"], data["max_tokens"]
    row = accuracy_row(network, tokenizer, tasks, items, *settings, threads)
    run.write("accuracy", [row | run.exported(shape_of(read_config(run.input["config"])))])
