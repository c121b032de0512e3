"""Rule collect_usage: what each job was estimated to need, and what it used."""

from llamanas.job import job

with job(snakemake) as run:
    from pathlib import Path

    from llamanas.models.families import read_config, shape_of
    from llamanas.report.usage import usage_rows
    from llamanas.resources import Model

    model = Model.of_shape(shape_of(read_config(run.input["config"])))
    run.write("resources", usage_rows(Path(run.params["logs"]), run.params["settings"], model))
