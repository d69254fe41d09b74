"""What each table and figure of the paper consists of: labelled configurations, as data.

A case is a label and what it changes in the configuration that the user gave. Cases of different experiments that come
to the same configuration are trained and simulated once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import nan
from typing import Any, Literal

BACKBONES = ("caser", "sasrec")  # in the paper's order

# simulated runs, and what is read off them by budget, over time or session by session; training curves; or the plans of
# trained models
Source = Literal["runs", "budgets", "clocks", "lives", "curves", "plans"]


@dataclass(frozen=True)
class Case:
    """A method or variant: its label, what it changes in the configuration, and the columns that tell it from others.

    `strategy` is the strategy that runs it; the keys of `changes` are dotted.
    """

    label: str
    strategy: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    columns: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Experiment:
    """A table or figure: its cases, where its figures come from, and the columns that make a row of it."""

    name: str
    title: str
    cases: tuple[Case, ...]
    by: tuple[str, ...]
    source: Source = "runs"
    compares: bool = True  # whether its cases answer one question, so that pairs of them can be tested
    notes: tuple[str, ...] = ()  # what its reader has to know
    usual: Mapping[str, Any] = field(default_factory=dict)  # keys that all cases have unless the user says otherwise

    @property
    def simulates(self) -> bool:
        """Whether its figures come from simulated runs."""
        return self.source not in ("curves", "plans")


BETA_OF_BITS = {3.0: 0.125, 2.5: 0.0625, 2.0: 0.0}  # 2 + 8·beta bits on average, before Λ

_CHORD = Case("chord", "chord")
_QUANT = Case("quant", "quant")
_METHODS = (
    Case("static", "static"),  # the paper's Base
    Case("finetune", "finetune"),
    Case("pemn", "pemn"),
    _QUANT,
    Case("adabits", "adabits"),
    Case("rfquant", "rfquant"),
    Case("mbquant", "mbquant"),
    _CHORD,
)
_LEARN_NOTHING = (Case("popular", "popular"), Case("covisitation", "covisitation"))


def _ladder(ladder: str) -> Case:
    return Case("chord", "chord", {"model.ladder": ladder}, {"ladder": ladder})


def _activations(bits: int) -> Case:
    return Case("chord", "chord", {"model.activation_bits": bits}, {"weight_bits": 3, "activation_bits": bits})


def _deployment(deployed: float, trained: float) -> Case:
    # with a limit even where training was at these bits: Λ moves a plan's average by up to half a bit from 2 + 8·beta
    changes = {"model.beta": BETA_OF_BITS[trained], "simulation.bits_limit": deployed}
    return Case("chord", "chord", changes, {"deployment_bits": deployed, "training_bits": trained})


def _beta(beta: float) -> Case:
    return Case("chord", "chord", {"model.beta": beta}, {"beta": beta})


_TABLE2 = Experiment(
    "table2",
    "Table 2: overall performance",
    _METHODS + _LEARN_NOTHING,
    ("backbone", "method"),
    notes=("Popular and co-visitation learn nothing from a seed: it varies the phones alone.",),
)
_TABLE3 = Experiment(
    "table3",
    "Table 3: ablation",
    (
        _QUANT,
        Case("+customization", "chord", {"model.importance": "filter"}),
        Case("+weighted-channel", "chord", {"model.importance": "element"}),
        Case("chord", "chord", {"model.importance": "layer"}),
    ),
    ("backbone", "method"),
    notes=(
        "+customization: plans from the filter level alone; +weighted-channel: and the element level; chord: and Λ, "
        "which moves two layers, and with them the average of bits.",
    ),
)
_TABLE4 = Experiment(
    "table4", "Table 4: bit-width combinations", (_ladder("2-4-6-8"), _ladder("2-5-6-7")), ("backbone", "ladder")
)
_TABLE5 = Experiment(
    "table5",
    "Table 5: weights and activations",
    (
        Case("static", "static", {"model.activation_bits": 32}, {"weight_bits": 32, "activation_bits": 32}),
        _activations(32),
        _activations(3),
    ),
    ("backbone", "method", "weight_bits", "activation_bits"),
)
_TABLE6 = Experiment(
    "table6",
    "Table 6: trained at one average bit-width, deployed at another",
    tuple(_deployment(*bits) for bits in ((3.0, 3.0), (2.5, 2.5), (2.5, 3.0), (2.0, 2.0), (2.0, 3.0))),
    ("backbone", "deployment_bits", "training_bits"),
    notes=("Deployment bits are a limit that every device is held to; average bits are what it then uses.",),
)
_FIGURE3 = Experiment(
    "figure3",
    "Figure 3: HR@10 on validation during training",
    tuple(case for case in _METHODS if case.label in ("quant", "adabits", "rfquant", "mbquant", "chord")),
    ("backbone", "method"),
    "curves",
    notes=("The table has the epoch of each training that is best by NDCG@10 on validation; the CSV has all epochs.",),
)
_FIGURE4 = Experiment(
    "figure4",
    "Figure 4: share of channels in each upper tier",
    (Case("static", "static", {}, {"beta": nan}), *(_beta(beta) for beta in (0.0625, 0.125, 0.1875, 0.25))),
    ("backbone", "method", "beta"),
)
_FIGURE5 = Experiment(
    "figure5",
    "Figure 5: plans",
    (_CHORD,),
    ("backbone",),
    "plans",
    notes=(
        "Most critical to a user: the layer with the highest score of the layer level, which Λ raises. Channels are "
        "sorted by their mean bits within each seed, since a channel means nothing across trainings.",
    ),
)

_PEER = Experiment(
    "peer",
    "Full precision beside RecBole's modules",
    tuple(Case("static", "static", {"simulation.seen": seen}, {"seen": seen}) for seen in ("keep", "exclude")),
    ("backbone", "seen"),
    compares=False,
    notes=("The column `paper` holds RecBole's modules on the same split and protocol, one seed.",),
)


def _at_window(case: Case, window: int) -> Case:
    return Case(case.label, case.strategy, {**case.changes, "model.window": window}, {"window": window})


_TO_THE_END = {"train.epochs": 40}  # or the early stop: a plan must not win because the base was cut short


_PERSONALISATION = Experiment(
    "personalisation",
    "Personalisation: a window of 5 items",
    tuple(_at_window(case, 5) for case in (Case("static", "static"), _CHORD, *_LEARN_NOTHING)),
    ("backbone", "method"),
    usual=_TO_THE_END,
)
_BY_WINDOW = Experiment(
    "windows",
    "Own plan, stranger's plan and trained weights by window",
    (
        *(_at_window(case, window) for window in (1, 3, 5, 10, 20, 50) for case in (Case("static", "static"), _CHORD)),
        Case("covisitation", "covisitation", {}, {"window": nan}),
    ),
    ("backbone", "method", "window"),
    notes=("Where tests pool windows, a user's differences are averaged over windows and seeds: `seeds` counts both.",),
    usual=_TO_THE_END,
)

SESSIONS = 10  # of a life


def _lived(strategy: str, refresh: str | None = None) -> Case:
    changes: dict[str, Any] = {"life.sessions": SESSIONS}
    changes |= {} if refresh is None else {"life.refresh": refresh}
    return Case(strategy, strategy, changes, {"refresh": nan if refresh is None else refresh})


_THRESHOLDS = (0, 0.02, 0.05, 0.1, 0.2, 0.4)
_LIFE = Experiment(
    "life",
    f"Life: {SESSIONS} sessions",
    (
        _lived("static"),
        _lived("finetune"),
        _lived("chord", "once"),
        *(_lived("chord", f"cosine:{threshold:g}") for threshold in reversed(_THRESHOLDS)),
        _lived("chord", "always"),
    ),
    ("backbone", "method", "refresh"),
    "lives",
    notes=(
        f"Each user's last {SESSIONS} items are targets, one session after the other; none of them is trained or "
        "validated on. Adaptation bytes are of a device's whole life. Asked: the share of sessions in which a device "
        "asked for a plan; drift: mean cosine distance of its profile from the one that its plan was made from.",
        "Finetune begins every session from the shipped weights, on the history up to then.",
    ),
)

_TIGHT = {
    "population.source": "budget-phones",
    "population.constrain": True,
    **{"simulation.rounds": 8, "clock.interval": 10_800.0},  # a day
}
_BUDGET = Experiment(
    "budget",
    "Accuracy against budget: Table 6 read off a population",
    tuple(Case(name, name, _TIGHT) for name in ("quant", "chord")),
    ("backbone", "method", "deployment_bits", "training_bits"),
    "budgets",
    notes=(
        "Population budget-phones, a day of 8 rounds, trained once at 3 bits. Deployment bits are what memory, "
        "processor and battery of a device allow at that moment, rounded down to 3, 2.5 or 2; at 0 not even 2 fit.",
        "Served is the share of the devices asked that have a result; accuracy is over those. Quant has 3 bits or "
        "none.",
    ),
)
DEADLINE = 2.0  # seconds that a user waits
_TIME = Experiment(
    "time",
    "Time to accuracy: what a method costs slow phones",
    tuple(
        Case(
            name,
            name,
            {
                "population.source": "budget-phones",
                "population.constrain": budgets == "on",
                **{"simulation.rounds": 5, "clock.interval": 60.0, "clock.deadline": DEADLINE},
            },
            {"budgets": budgets},
        )
        for budgets in ("off", "on")
        for name in ("static", "finetune", "chord")
    ),
    ("backbone", "method", "budgets"),
    "clocks",
    notes=(
        "Population budget-phones, all there all the time, five rounds a minute apart, the download of the model in "
        f"the first. A result that takes a phone more than {DEADLINE:g} s of transfer and computing is late and does "
        "not count; a model that was downloaded late is there in the next round.",
        "NDCG@10 is over all devices, with 0 for those without a result so far. Seconds are until 90 % of all "
        "devices had their first result. Late: the share of rows. With budgets off every device runs every method.",
    ),
)

EXPERIMENTS: dict[str, Experiment] = {
    experiment.name: experiment
    for experiment in (_TABLE2, _TABLE3, _TABLE4, _TABLE5, _TABLE6, _FIGURE3, _FIGURE4, _FIGURE5, _PEER)
}
OF_THE_PAPER = ("table1", *EXPERIMENTS, "param")
EXPERIMENTS |= {experiment.name: experiment for experiment in (_PERSONALISATION, _BY_WINDOW, _BUDGET, _TIME, _LIFE)}
NAMES = ("table1", *EXPERIMENTS, "param", "all")  # what `chord-fl reproduce` takes

# the paper's six blocks on Amazon-CD, and all users to train on, as many as Table 1 has; unless the user says otherwise
_OF_DATASET: dict[str, dict[str, Any]] = {
    "ml-1m": {"train.train_users": 6_040},
    **{name: {"model.blocks": 6, "train.train_users": 31_482} for name in ("amazon-cd", "cd-like")},
    **{name: {"train.train_users": 97_052} for name in ("yelp", "yelp-like")},
}

STATISTICS = ("ml-100k", "ml-1m", "cd-like", "yelp-like")  # data sets of Table 1 that need no path


def named(what: str) -> tuple[str, ...]:
    """The experiments that a name of `NAMES` stands for: itself, or all of the paper's."""
    return OF_THE_PAPER if what == "all" else (what,)


def changes(
    case: Case,
    dataset: str,
    backbone: str,
    seed: int,
    asked: Sequence[str] = (),
    usual: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Dotted keys of the configuration of `case`, a case of an experiment with `usual` keys.

    Keys in `asked`, which the user set, get no default of the paper or of the experiment.
    """
    usual = {**_OF_DATASET.get(dataset, {}), **(usual or {})}
    return {
        **{key: value for key, value in usual.items() if key not in asked},
        # the paper's tables compare methods, not phones: every device runs every method
        **({} if "population.constrain" in asked else {"population.constrain": False}),
        **case.changes,
        "strategy": case.strategy,
        "model.backbone": backbone,
        "seed": seed,
    }
