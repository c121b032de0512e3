"""Rule rank_importance: what each channel, and after the fine-tune each sub-layer, is worth."""

from itertools import islice

from llamanas.job import job

with job(snakemake) as run, run.device() as device:
    from llamanas.data.packing import epochs, pack
    from llamanas.models.decoder import load_decoder
    from llamanas.supernet.importance import channel_rows, sensitivity_rows

    tokens = run.params["importance"]["calibration_tokens"]
    decoder = load_decoder(run.path("weights").parent, device)
    examples = next(islice(epochs(run.rows("instructions"), tokens, run.seed("calibration")), 1))
    batch = pack(examples, tokens, device)
    rows = channel_rows(decoder, batch)
    if run.params["sensitivities"]:
        rows += sensitivity_rows(decoder, batch, sorted({0, *run.params["space"]["intermediate_sizes"]}))
    run.write("importance", rows)
