"""Rule fetch_instructions: the examples of the fine-tune, with tokens."""

from llamanas.job import job

with job(snakemake) as run:
    from llamanas.data.instructions import instruction_rows
    from llamanas.settings import existing
    from transformers import AutoTokenizer

    settings = run.params["instructions"]
    tokenizer = AutoTokenizer.from_pretrained(run.path("manifest").parent)
    items = run.rows("questions") if settings["task_train_splits"] else []
    files = [existing(file) for file in settings["files"]]
    run.write("instructions", instruction_rows(files, settings["hub"], items, tokenizer, settings))
