"""Rule select_front: the Pareto front with accuracies of the report split, and the named picks."""

from llamanas.job import job

with job(snakemake) as run:
    from llamanas.select.picks import full_id
    from llamanas.select.select import select

    search, settings = run.params["search"], run.params["select"]
    archive, seed = run.rows("expected"), run.seed(run.wildcards.task)
    front, picks = select(archive, run.rows("answers"), full_id(archive), search, settings, seed)
    run.write("front", front)
    run.write("picks", picks)
