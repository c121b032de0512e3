"""Rule propose_candidates: the architectures to measure in one generation."""

from llamanas.job import job

with job(snakemake) as run:
    from llamanas.models.families import bytes_per_parameter, read_config, shape_of
    from llamanas.search.propose import propose
    from llamanas.supernet.space import search_space

    config = read_config(run.source("config", weights=False) / "config.json")
    space = search_space(shape_of(config), run.params["space"])
    if latency := run.rows("latency"):
        space = space.timed(latency)
    archive = run.rows("archive")
    generation = int(run.wildcards.generation)
    seed = run.seed(run.wildcards.task, generation)
    importance, search = run.rows("importance"), run.params["search"]
    size = bytes_per_parameter(config, run.params["dtype"])
    about = archive, importance, search, generation, seed, size, run.rows("published")
    run.write("candidates", propose(space, shape_of(config), *about))
