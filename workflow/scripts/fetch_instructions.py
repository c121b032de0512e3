"""Rule fetch_instructions: the examples of the training, with tokens."""

from llamanas.job import job

with job(snakemake) as run:
    from llamanas.data.instructions import instruction_rows
    from llamanas.data.tasks import load_tasks, train_questions
    from llamanas.settings import existing
    from transformers import AutoTokenizer

    settings, data = run.params["instructions"], run.params["data"]
    tokenizer = AutoTokenizer.from_pretrained(run.source("manifest", weights=False))
    questions = run.rows("questions")
    folders = [existing(folder) for folder in data["task_folders"]]
    items = questions if settings["task_train_splits"] else []
    for name in settings["tasks"]:
        tasks = load_tasks(name, folders, data["few_shot"], data.get("task_code", False))
        items = items + train_questions(tasks, tokenizer, data["max_tokens"])
    # A task may be in a group as well; what a search or a report measures is never trained on.
    measured = {item["item"] for item in questions if item["split"] != "train"}
    items = list({item["item"]: item for item in items if item["item"] not in measured}.values())
    files = [existing(file) for file in settings["files"]]
    rows = instruction_rows(files, settings["hub"], items, run.rows("written"), tokenizer, settings)
    run.write("instructions", rows)
