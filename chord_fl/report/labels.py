"""How backbones, data sets and columns are written where people read them."""

from chord_fl.metrics import METRICS

_PROPER = {"sasrec": "SASRec", "caser": "Caser", "amazon-cd": "Amazon-CD", "yelp": "Yelp"}
_PROPER |= {"ml-100k": "ML-100K", "ml-1m": "ML-1M", "synthetic": "Synthetic"}
_COLUMNS = {
    **{name: name.upper() for name in METRICS},
    "ndcg@10_stranger": "NDCG@10, stranger's plan",
    "average_bits": "average bits",
    "param_mbit": "Param, Mbit",
    "adaptation_bytes_per_device": "adaptation, B per device",
    "adaptation_seconds": "adaptation, s",
    "density_percent": "density, %",
    "p_holm": "p (Holm)",
    "share_asked": "share of devices",
    "served_first": "served in the first round",
    "seconds_to_90": "seconds until 90 % are served",
    "bytes_per_device": "bytes per device",
    "modelled_seconds": "modelled seconds a round",
    "joules_of_a_round": "joules a round",
    "share_late": "late",
    "seeds_agreeing": "seeds agreeing",
}


def proper(name: str) -> str:
    """A backbone or data set as its authors write it; another name stays as it is."""
    return _PROPER.get(name, name)


def heading(column: str) -> str:
    """What stands above a column of a table."""
    return _COLUMNS.get(column, column.replace("_", " "))
