"""Rule expect_scores: the archive with the score that all measurements together let expect of each network."""

from llamanas.job import job

with job(snakemake) as run:
    from llamanas.models.families import read_config, shape_of
    from llamanas.select.expected import with_expected
    from llamanas.supernet.space import search_space

    search = run.params["search"]
    space = search_space(
        shape_of(read_config(run.source("config", weights=False) / "config.json")), run.params["space"]
    )
    importance = run.rows("importance") if search["use_importance"] else None
    run.write("expected", with_expected(run.rows("archive"), space, importance, search["score"], run.params["smooth"]))
