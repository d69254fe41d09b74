"""Data sets by name. `SOURCES` is the only list of those that are read; a line there makes one."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from chord_fl.data import identity
from chord_fl.trees import Tree


@dataclass(frozen=True)
class Source:
    """Where the events of a data set come from.

    read: MODULE:FUNCTION of (config: DataConfig, home: Path, on_progress) -> Events. `config.path` is the user's file
        or None, `home` a folder for downloads, `on_progress` is told (bytes read, bytes in all) now and then.
    obtain: where the user gets the file, for one that must be given; None where `read` finds it by itself.
    identity: what tells one content from another, besides name and core.
    slow: whether sequences are kept, so that the file is read once.
    title: what to call the data where no path is given.
    """

    read: str
    obtain: str | None = None
    identity: Callable[[Any], Tree] = identity.of_content
    slow: bool = False
    title: str = ""


_AMAZON = ": get the ratings or the 5-core reviews of CDs and Vinyl from https://nijianmo.github.io/amazon"
_YELP = ": get yelp_academic_dataset_review.json from https://www.yelp.com/dataset"

SOURCES: dict[str, Source] = {
    "ml-100k": Source("chord_fl.data.movielens:ml_100k", None, identity.of_release, title="MovieLens-100K"),
    "ml-1m": Source("chord_fl.data.movielens:ml_1m", None, identity.of_ml_1m, slow=True, title="MovieLens-1M"),
    "amazon-cd": Source("chord_fl.data.reviews:amazon_cd", _AMAZON, identity.of_sample, slow=True),
    "yelp": Source("chord_fl.data.reviews:yelp", _YELP, identity.of_sample, slow=True),
    "csv": Source("chord_fl.data.tables:table", "", identity.of_table),
}
MADE_UP = ("synthetic", "cd-like", "yelp-like")  # populations of chord_fl.data.synthetic
NAMES = (*SOURCES, *MADE_UP)
