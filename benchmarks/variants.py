"""CHORD with ideas that could make it more personal: the variants that `ideas.py` trains, and their options."""

import dataclasses
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from chord_fl.cloud.importance import LEVELS
from chord_fl.cloud.model import ChordModel
from chord_fl.cloud.plan import Plan, plan, refine
from chord_fl.models.spec import BACKBONES, ModelSpec
from chord_fl.quantization.bank import apply_codes, apply_gates


def option(default: Any, text: str, choices: tuple[Any, ...] | None = None) -> Any:
    """A field of Options with what `--help` says of it."""
    return dataclasses.field(default=default, metadata={"help": text, "choices": choices})


@dataclass(frozen=True)
class Options:
    """A variant of the model and how it is trained. Ideas are off by default."""

    method: str = option("chord", "CHORD, or the backbone in full precision", ("chord", "full"))
    backbone: str = option("sasrec", "what is quantised", BACKBONES)
    window: int = option(10, "recent items that the backbone sees")
    blocks: int = option(4, "of SASRec")
    wide: int = option(1, "of Caser, times as many filters")
    history: int = option(50, "recent items that the profile sees")
    scale: float = option(1.0, "of the frozen weights, times Xavier's")
    lr: float = option(0.003, "learning rate")
    hr: float = option(10.0, "rate of the hypernetworks, times the learning rate")
    tlr: float = option(1.0, "rate of the tables of --bias and --gain, times the learning rate")
    dec: int = option(0, "1: the rates fall to 5 %% along half a cosine", (0, 1))
    drop: float = option(0.1, "dropout")
    hdrop: float = option(0.0, "share of the history that the profile misses in training")
    wpc: int = option(2, "windows per cut: how many a plan serves in training")
    temp: float = option(0.3, "temperature of the straight-through estimator")
    cool: float = option(1.0, "temperature in the last epoch, times that of the first; geometric in between")
    ema: float = option(0.0, "decay per step of a moving average of the weights, which is what is measured; 0 for none")
    beta: float = option(0.125, "share of channels in each upper tier")
    level: str = option("layer", "the last level of importance that counts", LEVELS)
    sort: int = option(0, "1: tiers relaxed by soft sorting instead of soft thresholds", (0, 1))
    rank: int = option(0, "of the filter level's hypernetwork; 0 for full")
    bias: int = option(0, "1: a learned bias for each bit-width of a channel, added to the shared one", (0, 1))
    post: int = option(
        0,
        "of Caser, a bias for each bit-width of a channel after pooling and dropout; 1: besides, 2: in place of "
        "the shared ones",
        (0, 1, 2),
    )
    gain: int = option(0, "a learned gain for each bit-width; 1: of a channel, 2: of a layer", (0, 1, 2))
    margin: float = option(0.0, "weight of a loss that falls as own plans get ahead of strangers'")
    noise: float = option(0.0, "logistic noise on the scores of channels in training, times a standard one")
    aux: float = option(0.0, "weight of a next-item loss on the profile itself")
    paux: float = option(0.0, "weight of a next-item loss on the plan itself, through a head that training alone has")
    binit: float = option(0.02, "standard deviation of the tables of --bias at the start")
    enc: str = option(
        "last",
        "profile: last state of the GRU, mean state, both mapped (cat), or last state and item embeddings mapped (emb)",
        ("last", "mean", "cat", "emb"),
    )
    resid: int = option(
        0,
        "1: a map of the profile is added to SASRec's input, or Caser's output: what it could bring at best; "
        "2: a map of the plan's codes, to Caser's output",
        (0, 1, 2),
    )
    epochs: int = option(20, "at most")
    patience: int = option(8, "epochs without a better ndcg@10")
    every: int = option(2, "epochs from one measurement to the next")
    batch: int = option(64, "cuts per step")
    data: str = option("ml-100k", "data set")
    users: int = option(0, "take the first so many users; 0 for all")
    seed: int = option(0, "of data, frozen weights and training")

    def changed(self) -> dict[str, Any]:
        """What differs from the defaults."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if getattr(self, f.name) != f.default}

    def conflict(self) -> str | None:
        """What is wrong with a combination, if anything."""
        if self.method == "full":
            ideas = {
                "sort",
                "rank",
                "bias",
                "gain",
                "margin",
                "noise",
                "cool",
                "aux",
                "enc",
                "resid",
                "hdrop",
            } & self.changed().keys()
            return f"--{min(ideas)} needs plans: it does nothing with --method full" if ideas else None
        if self.post and self.backbone != "caser":
            return "--post is for --backbone caser"
        caser_only = self.resid == 2 or self.wide > 1
        return "--resid 2 and --wide are for --backbone caser" if caser_only and self.backbone != "caser" else None


class RicherEncoder(nn.Module):
    """The profile encoder with more than the GRU's last state; see Options.enc."""

    def __init__(self, dim: int, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.gru = nn.GRU(dim, dim, batch_first=True)
        self.mix = nn.Linear(2 * dim, dim) if kind in ("cat", "emb") else None

    def forward(self, history: Tensor, items: nn.Embedding) -> Tensor:
        """Profiles [B, d] of `history` [B, h] int64, padded on the left with 0."""
        lengths = (history > 0).sum(1)
        order = (torch.arange(history.shape[1]) - lengths[:, None]) % history.shape[1]
        moved = history.gather(1, order)  # padding to the right, as in ProfileEncoder
        real = (moved > 0)[..., None]
        embedded = items(moved)
        states, _ = self.gru(embedded)
        last = states[torch.arange(len(moved)), (lengths - 1).clamp(min=0)] * (lengths > 0)[:, None]
        mean: Tensor = (states * real).sum(1) / lengths.clamp(min=1)[:, None]
        if self.mix is None:
            return mean
        if self.kind == "emb":
            mean = (embedded * real).sum(1) / lengths.clamp(min=1).sqrt()[:, None]
        mixed: Tensor = self.mix(torch.cat([last, mean], 1))
        return mixed


class Entrance(nn.Dropout):
    """SASRec's dropout. Its first use in a pass is on the input: there, a map of the profiles is added before it."""

    def __init__(self, dim: int, dropout: float) -> None:
        super().__init__(dropout)
        self.map = nn.Linear(dim, dim)
        self.profiles: Tensor | None = None  # [B, d] of the pass that comes

    def forward(self, states: Tensor) -> Tensor:
        """Dropout of `states` [N, w, d]; N / B consecutive windows belong to each profile."""
        if self.profiles is not None:
            added = self.map(self.profiles)
            states = states + added.repeat_interleave(len(states) // len(added), 0)[:, None]
            self.profiles = None
        dropped: Tensor = super().forward(states)
        return dropped


def soft_tiers(scores: Tensor, beta: float, temperature: float) -> Tensor:
    """Shares [B, n, 4] of the levels by soft sorting: how much of each rank belongs to a channel of `scores` [B, n]."""
    size = round(beta * scores.shape[1])
    ordered = scores.sort(dim=1, descending=True).values.detach()
    belongs = (-(ordered[:, :, None] - scores[:, None, :]).abs() / temperature).softmax(1)  # [B, rank, n]
    upper, lower = belongs[:, :size].sum(1), belongs[:, size : 2 * size].sum(1)
    return torch.stack([1 - upper - lower, lower, torch.zeros_like(upper), upper], dim=-1)


class AfterDropout(nn.Dropout):
    """Caser's dropout on its responses, to which what a plan adds comes after it."""

    added: Tensor | None = None  # [N, responses] of the pass that comes

    def forward(self, responses: Tensor) -> Tensor:
        """Dropout of `responses` [N, T, F], and what was added."""
        dropped: Tensor = super().forward(responses)
        return dropped if self.added is None else dropped + self.added[:, None]


class Variant(ChordModel):
    """CHORD with the ideas of `options`."""

    def __init__(self, spec: ModelSpec, options: Options) -> None:
        super().__init__(spec, options.beta, options.temp, options.drop, options.level)
        self.noise, self.history_dropout, self.sorts = options.noise, options.hdrop, bool(options.sort)
        layers, levels = spec.layout.layers, len(spec.levels)
        if options.enc != "last":
            self.encoder = RicherEncoder(spec.dim, options.enc)  # type: ignore[assignment]
        self.bias_tables, self.gain_tables = nn.ParameterList(), nn.ParameterList()  # a table per layer, or none
        if options.bias:
            self.bias_tables.extend(torch.randn(layer.channels, levels) * options.binit for layer in layers)
        if options.gain:
            rows = [layer.channels if options.gain == 1 else 1 for layer in layers]
            self.gain_tables.extend(torch.zeros(channels, levels) for channels in rows)
        self.post_tables = nn.ParameterList()
        if options.post:
            self.backbone.dropout = AfterDropout(options.drop)
            self.backbone.biases.requires_grad_(options.post == 1)  # else 0, as they begin
            self.post_tables.extend(torch.randn(layer.channels, levels) * options.binit for layer in layers)
        self.reader = nn.Linear(spec.layout.channels * levels, spec.dim) if options.paux or options.resid == 2 else None
        self.exit: nn.Linear | None = None
        self.reads = options.resid == 2
        if options.rank:
            narrow = (nn.Linear(spec.dim, options.rank), nn.Linear(options.rank, spec.layout.channels))
            self.importance.filters = nn.Sequential(*narrow)  # type: ignore[assignment]
        if options.resid and spec.backbone == "sasrec":
            self.backbone.dropout = Entrance(spec.dim, options.drop)
        elif options.resid == 1:
            self.exit = nn.Linear(spec.dim, spec.dim)

    def profiles(self, history: Tensor) -> Tensor:
        """Profiles [B, d] of `history` [B, h]; in training, of a random part of it."""
        if self.training and self.history_dropout:
            history = torch.where(torch.rand(history.shape) >= self.history_dropout, history, 0)
            history = history.gather(1, (history > 0).int().argsort(dim=1, stable=True))  # what is left, to the right
        profiles: Tensor = self.encoder(history, self.backbone.items)
        return profiles

    def plan(self, profiles: Tensor) -> Plan:
        """As the base class's; in training, of scores with noise."""
        scores, layer_scores = self.importance(profiles)
        if self.training and self.noise:
            u = torch.rand_like(scores).clamp(1e-6, 1 - 1e-6)
            scores = scores + self.noise * (u.log() - (-u).log1p())
        layout = self.spec.layout
        if not self.sorts:
            return plan(scores, layer_scores, layout, self.beta, self.temperature)
        codes = plan(scores, None, layout, self.beta, self.temperature).codes
        parts = [soft_tiers(part, self.beta, self.temperature) for part in scores.split(layout.widths, dim=1)]
        gates = torch.cat(parts, dim=1)
        if layer_scores is None:
            return Plan(codes, gates)
        return refine(codes, gates, layer_scores, layout, self.temperature)

    def read(self, codes: Tensor, gates: Tensor | None) -> Tensor:
        """What a plan says of its user's taste, [B, d]: a linear map of its codes, straight through."""
        assert self.reader is not None
        hot = F.one_hot(codes.long(), len(self.spec.levels)).float()
        taste: Tensor = self.reader((hot if gates is None else hot + gates - gates.detach()).flatten(1))
        return taste

    def posts(self, codes: Tensor, gates: Tensor | None) -> Tensor:
        """What a plan adds to Caser's responses, [B, F]; that of a vertical filter goes to all its dimensions."""
        hot = F.one_hot(codes.long(), len(self.spec.levels)).float()
        hot = hot if gates is None else hot + gates - gates.detach()
        parts = zip(hot.split(self.spec.layout.widths, dim=1), self.post_tables, strict=True)
        added = [(part * table).sum(-1) for part, table in parts]
        return torch.cat([*added[:-1], added[-1].repeat(1, self.spec.dim)], 1)

    def states(self, profiles: Tensor, codes: Tensor, gates: Tensor | None, windows: Tensor) -> Tensor:
        """States [N, w, d] of `windows` [N, w] under given plans, the input shifted by `profiles` where it is."""
        if isinstance(self.backbone.dropout, Entrance):
            self.backbone.dropout.profiles = profiles
        if isinstance(self.backbone.dropout, AfterDropout):
            self.backbone.dropout.added = self.posts(codes, gates).repeat_interleave(len(windows) // len(codes), 0)
        states = self.with_plan(codes, gates, windows)
        if not self.reads and self.exit is None:
            return states
        added = self.read(codes, gates) if self.exit is None else self.exit(profiles)
        return states + added.repeat_interleave(len(states) // len(profiles), 0)[:, None]

    def with_plan(self, codes: Tensor, gates: Tensor | None, windows: Tensor) -> Tensor:
        """As the base class's, with what the tables hold for the bit-width of each channel."""
        if not self.bias_tables and not self.gain_tables:
            return super().with_plan(codes, gates, windows)
        weights, biases = [], []
        widths = self.spec.layout.widths
        shares = [None] * len(widths) if gates is None else gates.split(widths, dim=1)
        for index, (chosen, soft) in enumerate(zip(codes.split(widths, dim=1), shares, strict=True)):
            copies, bias = self.bank[index], self.backbone.biases[index]
            weight = apply_codes(copies, chosen) if soft is None else apply_gates(copies, chosen, soft)
            hot = F.one_hot(chosen.long(), len(self.spec.levels)).float()  # [B, out, levels]
            if soft is not None:
                hot = hot + soft - soft.detach()  # straight through, as the weights
            if self.bias_tables:
                bias = bias + (hot * self.bias_tables[index]).sum(-1)
            if self.gain_tables:
                weight = weight * torch.exp((hot * self.gain_tables[index]).sum(-1))[..., None]
            weights.append(weight)
            biases.append(bias)
        states: Tensor = self.backbone(windows, weights, biases)
        return states
