"""The column Param of the paper's Table 2, from arithmetic alone: no run, no training, and no torch to wait for."""

import pandas as pd

from chord_fl.models import layouts
from chord_fl.models.layouts import Layout
from chord_fl.report.paper import METHODS, table
from chord_fl.wire import param


def param_table() -> pd.DataFrame:
    """Param in Mbit of the paper's eight methods, both backbones, three data sets, beside Table 2: no run needed.

    Columns backbone, method (the paper's names; base is the strategy static), dataset, param_mbit (not rounded), paper.
    """
    paper = table("table2").set_index(["backbone", "method", "dataset"])["param_mbit"]
    lines = [
        {
            "backbone": backbone,
            "method": method,
            "dataset": dataset,
            "param_mbit": _param_mbit(method, layout),
            "paper": paper.loc[(backbone, method, dataset)],
        }
        for backbone in ("caser", "sasrec")
        for dataset in ("amazon-cd", "yelp", "ml-100k")
        for layout in [_layout_of_paper(backbone, dataset)]
        for method in METHODS
    ]
    return pd.DataFrame(lines)


def _layout_of_paper(backbone: str, dataset: str) -> Layout:
    if backbone == "caser":
        return layouts.caser(window=20, dim=64)
    return layouts.sasrec(blocks=6 if dataset == "amazon-cd" else 4, dim=64)


def _param_mbit(method: str, layout: Layout) -> float:
    if method in ("base", "finetune"):
        return param.full_precision_mbit(layout)
    if method == "pemn":
        return param.masked_mbit(layout)
    return param.plan_mbit(layout) if method == "chord" else param.quantised_mbit(layout, 3)
