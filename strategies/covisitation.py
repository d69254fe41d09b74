"""Covisitation: every device looks up which items follow its last ones most often. Nothing is learned."""

from chord_fl.cloud.counting import COVISITATION
from strategies.popular import Popular


class Covisitation(Popular):
    """Like Popular, with a larger table: a device can hold that one too."""

    rules = COVISITATION
