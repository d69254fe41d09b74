"""Validation on the cloud: full ranking of the second last item, under a user's own plan and under a stranger's."""

from dataclasses import asdict, dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from chord_fl.cloud.model import ChordModel, CloudModel
from chord_fl.data.interactions import Interactions, held_out, recent
from chord_fl.metrics import means, plan_difference, rank_of, strangers

_CHUNK = 256


@dataclass(frozen=True)
class Validation:
    """What training reports after an epoch. Seen items stay candidates. Without plans, the control is NaN."""

    ndcg_10: float
    hr_10: float
    ndcg_10_stranger: float
    hr_10_stranger: float
    plan_difference: float

    def to_dict(self) -> dict[str, float]:
        """The figures under the names that the summary of a run uses."""
        return {name.replace("_10", "@10"): value for name, value in asdict(self).items()}


class Split(NamedTuple):
    """What a model may see of each user, and the item that it must then find."""

    history: Tensor  # [U, h] int64
    windows: Tensor  # [U, w] int64
    targets: Tensor  # [U] int64


def split(interactions: Interactions, drop: int, window: int, history: int) -> Split:
    """Hold out the item at `drop` from the end of each user (0: test, 1: validation); everything before it is known."""
    return Split(
        torch.from_numpy(recent(interactions, drop + 1, history).astype(np.int64)),
        torch.from_numpy(recent(interactions, drop + 1, window).astype(np.int64)),
        torch.from_numpy(held_out(interactions, drop).astype(np.int64)),
    )


@torch.inference_mode()
def validate(model: CloudModel, held: Split, seed: int, device: torch.device) -> Validation:
    """Measure `model`, which must be in evaluation mode."""
    if not isinstance(model, ChordModel):
        found = means(_ranks(model, held, None, device))
        return Validation(found["ndcg@10"], found["hr@10"], float("nan"), float("nan"), float("nan"))
    codes = torch.cat(
        [model.codes(model.encoder(part.to(device), model.backbone.items)) for part in held.history.split(_CHUNK)]
    )
    own = means(_ranks(model, held, codes, device))
    if len(codes) < 2:  # nobody is a stranger
        return Validation(own["ndcg@10"], own["hr@10"], float("nan"), float("nan"), float("nan"))
    others = means(_ranks(model, held, codes[torch.from_numpy(strangers(len(codes), seed)).to(device)], device))
    difference = plan_difference(codes.cpu().numpy())
    return Validation(own["ndcg@10"], own["hr@10"], others["ndcg@10"], others["hr@10"], difference)


def _ranks(model: CloudModel, held: Split, codes: Tensor | None, device: torch.device) -> NDArray[np.int64]:
    ranks = []
    for start in range(0, len(held.targets), _CHUNK):
        rows = slice(start, start + _CHUNK)
        windows = held.windows[rows].to(device)
        if isinstance(model, ChordModel) and codes is not None:
            states = model.with_codes(codes[rows], windows)
        else:
            states = model(held.history[rows].to(device), windows)
        scores = model.backbone.score(states[:, -1])
        scores[:, 0] = -torch.inf
        ranks.append(rank_of(scores, held.targets[rows].to(device)).cpu())
    return torch.cat(ranks).numpy()
