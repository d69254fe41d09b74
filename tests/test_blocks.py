import pytest
import torch
from torch import Tensor

from chord_fl.blocks import BLOCK, in_blocks

SIZES = [0, 1, 5, 63, 64, 65, 130, 200]


@pytest.mark.parametrize("rows", SIZES)
def test_results_come_back_in_order_and_complete(rows: int) -> None:
    first, second = torch.arange(rows * 3.0).reshape(rows, 3), torch.arange(rows)
    found = in_blocks(lambda x, y: x.sum(1) + y, first, second)
    torch.testing.assert_close(found, first.sum(1) + second)


@pytest.mark.parametrize("rows", SIZES)
def test_every_call_has_the_same_shape_and_the_filling_is_zero(rows: int) -> None:
    calls: list[Tensor] = []

    def record(x: Tensor, y: Tensor) -> Tensor:
        assert x.shape == (BLOCK, 2, 2) and y.shape == (BLOCK,) and y.dtype == torch.int64
        calls.append(y)
        return x[:, 0]

    found = in_blocks(record, torch.ones(rows, 2, 2), torch.ones(rows, dtype=torch.int64))
    assert found.shape == (rows, 2)
    together = torch.cat(calls)
    assert len(calls) == max(1, -(-rows // BLOCK))
    assert together[:rows].all() and not together[rows:].any()
