"""Rule fetch_model: any source of a model to one canonical folder."""

from pathlib import Path

from llamanas.job import job

with job(snakemake) as run:
    from llamanas.export.possible import check_exports
    from llamanas.models.families import read_config, shape_of
    from llamanas.models.fetch import fetch_model
    from llamanas.supernet.space import build_space

    folder = run.path("weights").parent
    downloads = Path(run.params["downloads"])
    rows = fetch_model(run.params["source"], folder, downloads, run.params["dtype"], run.params["trust_remote_code"])
    # Space and exports are no parameters of this rule, as they change nothing of the model; but better refused now.
    build_space(shape_of(read_config(folder / "config.json")), run.snakemake.config["space"])
    check_exports(folder, run.snakemake.config)
    run.write("manifest", rows)
