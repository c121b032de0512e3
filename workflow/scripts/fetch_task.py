"""Rule fetch_task: an lm-eval task, or the members of a group, as items with tokens."""

from llamanas.job import job

with job(snakemake) as run:
    from llamanas.data.tasks import load_tasks, require_metric, task_questions
    from llamanas.settings import existing
    from transformers import AutoTokenizer

    data = run.params["data"]
    tokenizer = AutoTokenizer.from_pretrained(run.source("manifest", weights=False))
    folders = [existing(folder) for folder in data["task_folders"]]
    limits = data["max_tokens"], data["search_items"], data["report_items"]
    rows = []
    for member in run.params["members"]:
        tasks = load_tasks(member, folders, data["few_shot"], data.get("task_code", False))
        require_metric(tasks, data["metric"])
        rows += task_questions(tasks, tokenizer, *limits)
    run.write("questions", rows)
