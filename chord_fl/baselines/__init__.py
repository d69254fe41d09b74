"""The paper's compression baselines: models that the cloud trains in the form in which devices will hold them.

`BASELINES` is the only list of them: a line there makes one, and a strategy of the same name.
"""

BASELINES: dict[str, str] = {  # MODULE:CLASS, a chord_fl.baselines.base.Baseline
    "pemn": "chord_fl.baselines.pemn:PEMN",
    "quant": "chord_fl.baselines.quant:Quant",
    "adabits": "chord_fl.baselines.adabits:AdaBits",
    "rfquant": "chord_fl.baselines.rfquant:RFQuant",
    "mbquant": "chord_fl.baselines.mbquant:MBQuant",
}
