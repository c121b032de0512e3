"""Rule fetch_model: any source of a model to one canonical folder."""

from pathlib import Path

from llamanas.job import job

with job(snakemake) as run:
    from llamanas.export.possible import check_exports
    from llamanas.models.fetch import fetch_model

    folder = run.path("weights").parent
    downloads = Path(run.params["downloads"])
    rows = fetch_model(run.params["source"], folder, downloads, run.params["dtype"], run.params["trust_remote_code"])
    # What is exported is no parameter of this rule: it changes nothing of the model.
    check_exports(folder, run.snakemake.config)
    run.write("manifest", rows)
