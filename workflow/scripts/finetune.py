"""Rule finetune: train the full network and its sub-networks together, once."""

from llamanas.job import job

with job(snakemake) as run, run.device() as device:
    from llamanas.finetune.train import train
    from llamanas.models.decoder import load_decoder
    from llamanas.provenance import manifest_rows
    from llamanas.supernet.build import copy_companions, write_weights
    from llamanas.supernet.order import channel_orders, order_channels
    from llamanas.supernet.space import search_space

    decoder = load_decoder(run.source("weights"), device)
    order_channels(decoder, channel_orders(run.rows("importance"), [decoder.shape.intermediate_size]))
    space = search_space(decoder.shape, run.params["space"])
    dtype = run.params["compute"]["dtype"]
    losses = train(decoder, space, run.rows("instructions"), run.params["finetune"], run.seed(), dtype, run.resume)
    write_weights(decoder, run.path("weights"))
    copy_companions(run.source("weights"), run.path("weights").parent)
    run.write("losses", losses)
    run.write("manifest", manifest_rows(run.path("weights").parent))
