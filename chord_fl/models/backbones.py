"""Backbones by name. `BACKBONES` is the only list of them; a line there makes one. Without torch, like the layouts."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Architecture:
    """Where a backbone is, and what the configuration has to know of it.

    module: has `build(spec, dropout) -> Backbone`, `layout(spec) -> Layout`, `lead(spec) -> int`, `span(spec) -> int`
        and `operations(spec, length) -> int`; chord_fl.models.spec says what they mean.
    window: recent items that it sees unless told otherwise.
    blocks: whether it has `model.blocks` of them.
    """

    module: str
    window: int
    blocks: bool = False


BACKBONES: dict[str, Architecture] = {
    "sasrec": Architecture("chord_fl.models.sasrec", window=10, blocks=True),
    "caser": Architecture("chord_fl.models.caser", window=20),
}
