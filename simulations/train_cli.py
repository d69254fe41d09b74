"""`chord-fl train`: the checkpoint that a strategy needs, without a simulation."""

import sys
from contextlib import redirect_stdout
from typing import Any

from simulations import options as o


@o.takes(o.TRAINING)
def train(
    *,
    track: o.Track = None,
    as_json: o.Json = False,
    quiet: o.Quiet = False,
    **flags: Any,
) -> None:
    """Train what a strategy needs: CHORD, or the model of another strategy.

    simulate and compare do this by themselves. Interrupt it at any time: the
    same command goes on from the last epoch, to the same result.

    [bold]Examples[/]
      chord-fl train
          CHORD on MovieLens-100K; does nothing if that was done before.
      chord-fl train --strategy quant --backbone caser
          The model of the baseline Quant, with Caser.
      chord-fl train --epochs 60 --checkpoint checkpoints/long --track tensorboard
          A longer training in a folder of its own, for TensorBoard to show.
    """
    config = o.resolve(**flags)
    from simulations import console, prepare, progress, tracking

    follower = tracking.follower(track, console.warn)
    prepare.check(config)
    prepare.check_checkpoint(config)
    if not prepare.strategy_class(config).learns:
        text = f"Nothing to train: {config.strategy} only counts, at the start of every run."
        console.print_json({"checkpoint": None, "note": text}) if as_json else console.say(text)
        return
    method = prepare.strategy_class(config).method
    ready, folder = prepare.is_trained(config, method), prepare.checkpoint_folder(config, method)
    shown = progress.training(config, method, progress.style(quiet, verbose=False))
    with redirect_stdout(sys.stderr), follower.following(config, folder), shown as told:
        prepare.trained(config, method, follower.training(told))
    best = prepare.best_epoch(folder)
    if as_json:
        console.print_json({"checkpoint": str(folder), "trained_before": ready, "best": best})
        return
    console.say(f"{'Already trained' if ready else 'Trained'}: {folder}")
    for name, value in best.items():
        console.say(f"  {name}: {value:.4g}")
