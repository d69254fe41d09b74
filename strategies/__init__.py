"""Flower strategies: one file, one strategy. `STRATEGIES` names those that the command line knows."""

from strategies.base import DeviceStrategy
from strategies.chord import Chord
from strategies.finetune import Finetune
from strategies.static import Static

STRATEGIES: dict[str, type[DeviceStrategy]] = {kind.name: kind for kind in (Chord, Static, Finetune)}
