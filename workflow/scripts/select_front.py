"""Rule select_front: the Pareto front with accuracies of the report split, and the named picks."""

from llamanas.job import job

with job(snakemake) as run:
    from llamanas.models.families import read_config, shape_of
    from llamanas.select.select import select

    full = shape_of(read_config(run.input["config"])).full.id
    search, settings = run.params["search"], run.params["select"]
    front, picks = select(
        run.rows("archive"), run.rows("answers"), full, search, settings, run.seed(run.wildcards.task)
    )
    run.write("front", front)
    run.write("picks", picks)
