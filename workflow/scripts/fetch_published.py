"""Rule fetch_published: the networks of another run that algorithm replay measures."""

from llamanas.job import job

with job(snakemake) as run:
    from llamanas.models.families import read_config, shape_of
    from llamanas.search.replay import published_rows
    from llamanas.supernet.space import search_space

    shape = shape_of(read_config(run.source("config", weights=False) / "config.json"))
    space = search_space(shape, run.params["space"])
    run.write("published", published_rows(run.params["replay"], run.wildcards.task, space, shape))
