"""Flower strategies: one file, one strategy. `STRATEGIES` names those that the command line knows."""

from strategies.adabits import AdaBits
from strategies.base import DeviceStrategy
from strategies.chord import Chord
from strategies.covisitation import Covisitation
from strategies.finetune import Finetune
from strategies.mbquant import MBQuant
from strategies.pemn import PEMN
from strategies.popular import Popular
from strategies.quant import Quant
from strategies.rfquant import RFQuant
from strategies.static import Static

STRATEGIES: dict[str, type[DeviceStrategy]] = {
    kind.name: kind for kind in (Chord, Static, Finetune, PEMN, Quant, AdaBits, RFQuant, MBQuant, Popular, Covisitation)
}
