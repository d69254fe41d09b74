"""The figures that the CHORD paper prints (arXiv 2510.03038, tables 1 to 6), under the names that runs use here.

table(name) -> DataFrame     name: "table1" .. "table6", or "peer"
method_in_paper(method)      the paper's name of a strategy: "static" is its "base", the others are the same

Columns:
    table1  dataset, users, items, interactions, density_percent
    table2  backbone, method, average_bits, dataset, ndcg@5, hr@5, ndcg@10, hr@10, param_mbit
    table3  backbone, method (quant, +customization, +weighted-channel, chord), dataset, ndcg@10, hr@10
    table4  backbone, method (chord), ladder ("2-4-6-8", "2-5-6-7"), dataset, ndcg@10, hr@10
    table5  backbone (caser), method (base, chord), weight_bits, activation_bits, dataset, ndcg@10, hr@10
    table6  backbone (caser), method (chord), deployment_bits, training_bits, dataset, ndcg@10, hr@10

And one that is not the paper's: `peer` (backbone, seen, dataset, ndcg@10) is what RecBole's SASRec and Caser modules
reach on ML-100K: 10-core, last item held out, full ranking, trained with full cross-entropy, one seed.
"""

from importlib.resources import files

import pandas as pd

TABLES = ("table1", "table2", "table3", "table4", "table5", "table6", "peer")
METHODS = ("base", "finetune", "pemn", "quant", "adabits", "rfquant", "mbquant", "chord")  # in the order of Table 2
_NAMES = {"static": "base"}


def method_in_paper(method: str) -> str:
    """The name under which the paper lists the strategy or variant `method`."""
    return _NAMES.get(method, method)


def table(name: str) -> pd.DataFrame:
    """The figures of one table of the paper, a row per printed line and data set; see the module for the columns.

    Raises ValueError for a name that is not in TABLES.
    """
    if name not in TABLES:
        raise ValueError(f"the paper has no '{name}'; choose from {', '.join(TABLES)}")
    with (files("chord_fl.report") / "paper_tables" / f"{name}.csv").open(encoding="utf-8") as file:
        frame = pd.read_csv(file)
    frame = frame.rename(columns={"avg_bits": "average_bits", "variant": "method", "bit_config": "ladder"})
    if name == "table4":
        frame.insert(1, "method", "chord")
    if name == "table5":
        frame = _long(frame)
    if name == "table6":
        # the backbone is not named; at 3 bits the figures are those of Caser in Table 2
        frame.insert(0, "backbone", "caser")
        frame.insert(1, "method", "chord")
    return frame


def _long(frame: pd.DataFrame) -> pd.DataFrame:
    # The paper prints the first pair of columns under the heading ML-100K. The figures are Caser's on Amazon-CD: base
    # 0.0216 / 0.0356 and chord 0.0332 / 0.0468 are what Table 2 has there; its base on ML-100K is 0.0599 / 0.1177.
    keys = ["method", "weight_bits", "activation_bits"]
    parts = []
    for prefix, dataset in (("column_1", "amazon-cd"), ("yelp", "yelp")):
        columns = {f"{prefix}_{metric}": metric for metric in ("ndcg@10", "hr@10")}
        part = frame[[*keys, *columns]].rename(columns=columns)
        part.insert(len(keys), "dataset", dataset)
        parts.append(part)
    whole = pd.concat(parts, ignore_index=True)
    whole.insert(0, "backbone", "caser")
    return whole
