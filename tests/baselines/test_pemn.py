import torch

from chord_fl.baselines.pemn import PEMN, highest
from chord_fl.models.frozen import VECTOR, repeated_weights
from chord_fl.models.matrices import Masked
from chord_fl.models.spec import ModelSpec

SPECS = [
    ModelSpec("sasrec", 30, 1, 32, 5, 9, (2, 4, 6, 8), 5, 1.0),
    ModelSpec("caser", 30, 1, 32, 5, 9, (2, 4, 6, 8), 5, 1.0),
]


def test_a_mask_keeps_the_highest_half_and_passes_the_gradient() -> None:
    scores = torch.tensor([[0.1, -0.5, 3.0], [0.2, 0.0, -9.0]], requires_grad=True)
    mask = highest(scores)
    assert mask.tolist() == [[1, 0, 1], [1, 0, 0]]
    (mask * torch.arange(6.0).reshape(2, 3)).sum().backward()
    assert scores.grad is not None and scores.grad.flatten().tolist() == [0, 1, 2, 3, 4, 5]
    assert int(highest(torch.zeros(7, 4)).sum()) == 14  # ties too


def test_half_of_the_weights_remain_and_they_have_few_values() -> None:
    for spec in SPECS:
        torch.manual_seed(0)
        model = PEMN(spec)
        fixed = repeated_weights(spec.layout, spec.frozen_seed, spec.frozen_scale)
        for matrix, weight, base in zip(model.matrices(), model.deployed(), fixed, strict=True):
            assert isinstance(matrix, Masked) and int(matrix.mask.sum()) == round(base.numel() / 2)
            assert torch.equal(weight != 0, matrix.mask) and torch.equal(weight[matrix.mask], base[matrix.mask])
            assert len(weight.unique()) <= VECTOR + 1


def test_only_scores_are_trained_and_kept() -> None:
    torch.manual_seed(0)
    model = PEMN(SPECS[0])
    names = {name for name in model.state_dict() if not name.startswith("backbone")}
    assert names == {f"scores.{index}" for index in range(5)}
    optimiser = torch.optim.Adam(model.parameters(), 0.05)
    before = [weight.detach() != 0 for weight in model.deployed()]
    windows = torch.randint(1, 31, (6, 5))
    for _ in range(5):
        optimiser.zero_grad()
        model(windows, windows).square().sum().backward()
        optimiser.step()
    assert any(not torch.equal(one, other != 0) for one, other in zip(before, model.deployed(), strict=True))
    for index, base in enumerate(repeated_weights(SPECS[0].layout, 5, 1.0)):
        assert torch.equal(model.get_buffer(f"_fixed{index}"), base)
