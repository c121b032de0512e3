"""Rule fetch_published: the networks of another run that algorithm replay measures."""

from llamanas.job import job

with job(snakemake) as run:
    from llamanas.search.replay import published_rows
    from llamanas.settings import existing

    run.write("published", published_rows(existing(run.params["replay"].replace("{task}", run.wildcards.task))))
