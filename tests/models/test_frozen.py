import hashlib
import math

import pytest
import torch

from chord_fl.models.frozen import fingerprint, frozen_weights
from chord_fl.models.layouts import Layer, Layout
from chord_fl.models.layouts import sasrec as layout

LADDER = (2, 4, 6, 8)


def sha256(weights: list[torch.Tensor]) -> str:
    return hashlib.sha256(b"".join(weight.numpy().astype("<f4").tobytes() for weight in weights)).hexdigest()


@pytest.mark.parametrize(
    ("scale", "expected"),
    [
        (1.0, "dd6e597506618014b19755bab84a9ac2beca0c0445f73a38504c2b7fb4ffe948"),
        (2.0, "4b2ef089183f6ab75600c7062b230bec38bfbfc82f73f05eeffaffb6bce604a9"),
    ],
)
def test_every_machine_draws_these_weights(scale: float, expected: str) -> None:
    assert sha256(frozen_weights(layout(4, 64), seed=0, scale=scale)) == expected


def test_every_machine_computes_this_fingerprint() -> None:
    weights = frozen_weights(layout(4, 64), seed=0, scale=2.0)
    assert fingerprint(weights, LADDER).hex() == "3aafb006"
    assert fingerprint(weights, (2, 5, 6, 7)).hex() == "eb11d18c"


def test_the_fingerprint_names_seed_ladder_scale_and_shape() -> None:
    weights = frozen_weights(layout(1, 8), seed=0, scale=1.0)
    regrouped = [weight.reshape(4, 16) for weight in weights]
    changed = weights[0].clone()
    changed[0, 0] = torch.nextafter(changed[0, 0], torch.tensor(1.0))
    names = {
        fingerprint(weights, LADDER),
        fingerprint(weights, (2, 5, 6, 7)),
        fingerprint(frozen_weights(layout(1, 8), seed=1, scale=1.0), LADDER),
        fingerprint(frozen_weights(layout(1, 8), seed=0, scale=2.0), LADDER),
        fingerprint(regrouped, LADDER),
        fingerprint([changed, *weights[1:]], LADDER),
    }
    assert len(names) == 6 and all(len(name) == 4 for name in names)


def test_weights_fill_their_range_evenly() -> None:
    shape = Layout((Layer("wide", 300, 500), Layer("tall", 40, 7)))
    weights = frozen_weights(shape, seed=3, scale=1.5)
    for layer, weight in zip(shape.layers, weights, strict=True):
        bound = 1.5 * math.sqrt(6 / (layer.channels + layer.size))
        assert weight.shape == (layer.channels, layer.size) and weight.dtype == torch.float32
        assert weight.abs().max() <= bound
    bound = 1.5 * math.sqrt(6 / 800)
    assert weights[0].abs().max() > 0.999 * bound
    assert abs(float(weights[0].mean())) < 0.01 * bound
    assert float(weights[0].std()) == pytest.approx(bound / math.sqrt(3), rel=0.01)
    assert len(set(weights[0].flatten().tolist())) > 140_000  # no two rows alike


def test_layers_are_drawn_independently_of_each_other() -> None:
    first, second = layout(1, 8), layout(2, 8)
    for short, long in zip(
        frozen_weights(first, 0, 1.0), frozen_weights(second, 0, 1.0)[: len(first.layers)], strict=True
    ):
        assert torch.equal(short, long)
    weights = frozen_weights(second, 0, 1.0)
    assert len({weight.numpy().tobytes() for weight in weights}) == len(weights)


def test_a_layout_counts_its_channels_and_weights() -> None:
    shape = Layout((Layer("a", 3, 5), Layer("b", 2, 7)))
    assert (shape.channels, shape.weights, shape.widths) == (5, 29, [3, 2])
    assert shape.sizes.tolist() == [5, 5, 5, 7, 7]
    paper = layout(4, 64)
    assert paper.weights + paper.channels == 83_200
