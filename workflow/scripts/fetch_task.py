"""Rule fetch_task: an lm-eval task as items with tokens."""

from llamanas.job import job

with job(snakemake) as run:
    from llamanas.data.tasks import load_tasks, require_metric, task_questions
    from llamanas.settings import existing
    from transformers import AutoTokenizer

    data = run.params["data"]
    tokenizer = AutoTokenizer.from_pretrained(run.path("manifest").parent)
    tasks = load_tasks(run.wildcards.task, [existing(folder) for folder in data["task_folders"]], data["few_shot"])
    require_metric(tasks, data["metric"])
    limits = data["max_tokens"], data["search_items"], data["report_items"]
    run.write("questions", task_questions(tasks, tokenizer, *limits))
