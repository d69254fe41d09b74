"""Flower strategies: one file, one strategy. `STRATEGIES` names those of this package; a line there makes one."""

from chord_fl.baselines import BASELINES

STRATEGIES: dict[str, str] = {  # MODULE:CLASS, as `--strategy` takes it for any other
    "chord": "strategies.chord:Chord",
    "static": "strategies.static:Static",
    "finetune": "strategies.finetune:Finetune",
    **dict.fromkeys(BASELINES, "strategies.baseline:of"),  # a function of the name
    "popular": "strategies.popular:Popular",
    "covisitation": "strategies.covisitation:Covisitation",
}
