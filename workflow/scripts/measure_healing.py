"""Rule measure_healing: accuracy of a pick on the report split before and after healing."""

from llamanas.job import job

with job(snakemake) as run, run.device() as device:
    from llamanas.finetune.healing import healing_row
    from llamanas.models.families import read_config, shape_of

    before, after = run.source("before"), run.source("after")
    architecture = run.architecture(shape_of(read_config(before / "config.json")))
    questions = [row for row in run.rows("questions") if row["split"] == "report"]
    names = {name: run.wildcards[name] for name in ("task", "pick")}
    run.write("healing", [names | healing_row(before, after, architecture, questions, run.params, device)])
