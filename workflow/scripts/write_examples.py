"""Rule write_examples: training examples that the base model writes itself."""

from llamanas.job import job

with job(snakemake) as run, run.device() as device:
    from llamanas.data.written import written_rows

    about = run.params["self_examples"], run.params["max_tokens"], run.seed()
    run.write("written", written_rows(run.source("weights"), *about, device))
