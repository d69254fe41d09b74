from dataclasses import replace

import numpy as np
import pytest
import torch

from chord_fl.cloud.counting import COVISITATION, covisitation_table, popularity_table
from chord_fl.data.interactions import Interactions
from chord_fl.device.counting import local_to, ranks_of_counts
from chord_fl.device.ranking import Candidates
from chord_fl.models.counts import CountTable

ITEMS, DEVICES = 40, 150


def population() -> Interactions:
    draw = np.random.default_rng(1)
    lengths = draw.integers(3, 30, DEVICES)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return Interactions(draw.integers(1, ITEMS + 1, offsets[-1]).astype(np.int32), offsets)


WHOLE = population()
TABLES = {"popular": popularity_table(WHOLE, ITEMS), "covisitation": covisitation_table(WHOLE, ITEMS, COVISITATION)}


def candidates(chosen: np.ndarray) -> Candidates:
    return Candidates(torch.from_numpy(chosen), torch.zeros(*chosen.shape, 0))


def one_by_one(table: CountTable, exclude: bool, chosen: np.ndarray | None = None) -> list[int]:
    """Ranks from a dictionary of scores, a device after the other."""
    ranks = []
    for device in range(DEVICES):
        row = WHOLE.items[WHOLE.offsets[device] : WHOLE.offsets[device + 1]].tolist()
        past, target, last = row[:-1], row[-1], len(table.recency)
        scores = {item: 0 for item in range(1, ITEMS + 1)}
        for item, recency in zip(
            reversed(past[-last:] if last else []), reversed(table.recency.tolist()), strict=False
        ):
            for other, weight in zip(table.neighbours[item].tolist(), table.weights[item].tolist(), strict=True):
                if other:
                    scores[other] += recency * weight
        rivals = scores.keys() if chosen is None else set(chosen[device].tolist()) | {target}
        rivals = [item for item in rivals if item == target or not (exclude and item in past)]
        order = sorted(rivals, key=lambda item: (-scores[item], -int(table.popularity[item]), item))
        ranks.append(1 + order.index(target))
    return ranks


@pytest.mark.parametrize("exclude", [False, True])
@pytest.mark.parametrize("name", TABLES)
def test_ranks_are_those_found_one_by_one(name: str, exclude: bool) -> None:
    table = TABLES[name]
    ranks = ranks_of_counts(table, local_to(table, WHOLE, exclude))
    assert ranks.dtype == np.int64 and ranks.tolist() == one_by_one(table, exclude)


@pytest.mark.parametrize("exclude", [False, True])
@pytest.mark.parametrize("name", TABLES)
def test_ranks_among_candidates(name: str, exclude: bool) -> None:
    table, draw = TABLES[name], np.random.default_rng(2)
    devices = local_to(table, WHOLE, exclude)
    chosen = np.stack([np.sort(draw.permutation(ITEMS)[:12] + 1) for _ in range(DEVICES)])
    chosen[:, -1] = np.where((chosen == devices.targets.numpy()[:, None]).any(1), chosen[:, -1], devices.targets)
    # among candidates, the place in the list decides between equals, as everywhere
    chosen.sort(axis=1)
    assert ranks_of_counts(table, devices, candidates(chosen)).tolist() == one_by_one(table, exclude, chosen)


@pytest.mark.parametrize("exclude", [False, True])
@pytest.mark.parametrize("name", TABLES)
def test_company_does_not_show(name: str, exclude: bool) -> None:
    table = TABLES[name]
    together = ranks_of_counts(table, local_to(table, WHOLE, exclude))
    alone = [ranks_of_counts(table, local_to(table, WHOLE.rows(device, 1), exclude))[0] for device in range(DEVICES)]
    assert together.tolist() == alone


@pytest.mark.parametrize("name", TABLES)
def test_no_devices(name: str) -> None:
    table = TABLES[name]
    assert ranks_of_counts(table, local_to(table, WHOLE.rows(0, 0), False)).shape == (0,)


def test_a_table_that_looks_back_further_than_anybody_has_been() -> None:
    table = replace(TABLES["covisitation"], recency=np.ones(50, dtype=np.uint8))
    devices = local_to(table, WHOLE, True)
    assert devices.windows.shape == (DEVICES, 50) and devices.seen is not None
    assert ranks_of_counts(table, devices).tolist() == one_by_one(table, True)
