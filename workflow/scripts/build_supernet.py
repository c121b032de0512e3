"""Rule build_supernet: order channels and heads by the importance after training, and list the space."""

from llamanas.job import job

with job(snakemake) as run:
    from llamanas.models.decoder import load_decoder
    from llamanas.provenance import manifest_rows
    from llamanas.supernet.build import copy_companions, write_weights
    from llamanas.supernet.order import bands, order_units, unit_orders
    from llamanas.supernet.space import build_space, search_space

    decoder = load_decoder(run.source("weights"))
    importance = run.rows("importance")
    order_units(decoder, unit_orders(importance, bands("train_supernet", run.params["space"], decoder.shape)))
    write_weights(decoder, run.path("weights"))
    copy_companions(run.source("weights"), run.path("weights").parent)
    run.write("importance", importance)
    run.write("space", build_space(decoder.shape, run.params["space"]))
    print(f"the space holds {search_space(decoder.shape, run.params['space']).size:,} sub-networks")
    run.write("manifest", manifest_rows(run.path("weights").parent))
