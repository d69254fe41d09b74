"""The paper's compression baselines: models that the cloud trains in the form in which devices will hold them."""

from chord_fl.baselines.adabits import AdaBits
from chord_fl.baselines.base import Baseline
from chord_fl.baselines.mbquant import MBQuant
from chord_fl.baselines.pemn import PEMN
from chord_fl.baselines.quant import Quant
from chord_fl.baselines.rfquant import RFQuant

BASELINES: dict[str, type[Baseline]] = {
    "pemn": PEMN,
    "quant": Quant,
    "adabits": AdaBits,
    "rfquant": RFQuant,
    "mbquant": MBQuant,
}
