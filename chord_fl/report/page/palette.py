"""Colours and marks: a strategy has the same in every figure of every page, in light and in dark.

Those of the compression baselines and of CHORD are the house's (`report.drawing`); the others come from Paul Tol's
muted scheme. Both are made for any colour vision. No figure tells two series apart by colour alone: each has its name
beside it, or a mark and a dash of its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from chord_fl.report.drawing import COLOURS, OTHER

INK, FAINT, GRID = "#1c2127", "#59636e", "#e6e6e6"  # texts and axes; what is secondary; the grid of `drawing.STYLE`
_STRATEGIES = {
    **COLOURS,
    "static": OTHER,
    "finetune": "#332288",
    "covisitation": "#117733",
    "popular": "#999933",
}
_OTHERS = ("#882255", "#44AA99", "#AA4499", "#DDAA33", "#6699CC", "#661100")
_MARKS = {
    **{"chord": "o", "static": "s", "finetune": "^", "covisitation": "D", "popular": "v"},
    **{"quant": "P", "adabits": "X", "rfquant": "p", "mbquant": "h", "pemn": "<"},
}
_OTHER_MARKS = ("d", ">", "H", "8", "*", "P")
_DASHES = ("-", "--", ":", "-.")
WIDTHS = {2: "#fde0c5", 3: "#fac5a0", 4: "#f5a97a", 5: "#ee8a55", 6: "#d95f30", 7: "#b8431c", 8: "#8c2d0f"}  # bits

# what becomes of a device, the first two apart: a result, or something that broke
STATUSES = {
    "ok": "#4477AA",
    "failed": "#CC3311",
    "cannot_hold": "#BBBBBB",
    "offline": "#DDDDDD",
    "late": "#CCBB44",
    "dropped": "#EE8866",
    "lost": "#AA3377",
    "corrupted": "#663333",
    "battery": "#228833",
    "waiting": "#E8E8F4",
    "not_sampled": "#F2F2F2",
}

# dark counterparts of those that would be too dim on a dark ground
_DARK = {
    INK: "#e6e9ed",
    FAINT: "#9aa4af",
    GRID: "#30363d",
    OTHER: "#b4b9bf",
    "#332288": "#9d8cf0",
    "#117733": "#4cbb70",
    "#0072B2": "#4aa8e0",
    "#882255": "#e0709f",
    "#661100": "#d08060",
    "#D55E00": "#ff8536",
    "#AA4499": "#dd80cc",
    "#663333": "#b07878",
    "#BBBBBB": "#6b737c",
    "#DDDDDD": "#454c54",
    "#E8E8F4": "#2b303a",
    "#F2F2F2": "#22272d",
    **{WIDTHS[2]: "#3b2a21", WIDTHS[3]: "#55382a", WIDTHS[4]: "#7d4a2f", WIDTHS[5]: "#a85f37"},  # the more the brighter
    **{WIDTHS[6]: "#d9783f", WIDTHS[7]: "#f59a5f", WIDTHS[8]: "#ffc79b"},
}


@dataclass(frozen=True)
class Style:
    """How a series is drawn."""

    colour: str
    mark: str
    dash: str


def styles(strategies: Sequence[str]) -> list[Style]:
    """A look for each series of the named strategies; the first of a strategy has the strategy's own."""
    looks: list[Style] = []
    others = 0
    for index, name in enumerate(strategies):
        turn = list(strategies[:index]).count(name)
        if name in _STRATEGIES and not turn:
            looks.append(Style(_STRATEGIES[name], _MARKS[name], "-"))
            continue
        colour, mark = _OTHERS[others % len(_OTHERS)], _OTHER_MARKS[others % len(_OTHER_MARKS)]
        looks.append(Style(colour, mark, _DASHES[(others + 1) % len(_DASHES)]))
        others += 1
    return looks


def variables() -> dict[str, tuple[str, str, str]]:
    """Colour in figures -> the name of the page's variable for it, its light value, its dark one."""
    every = (INK, FAINT, GRID, *_STRATEGIES.values(), *_OTHERS, *STATUSES.values(), *WIDTHS.values())
    found = {}
    for colour in dict.fromkeys(every):
        found[colour.lower()] = (f"--c-{colour[1:].lower()}", colour, _DARK.get(colour, colour))
    return found
