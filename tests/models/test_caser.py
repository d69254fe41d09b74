import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from chord_fl.models import caser, layouts
from chord_fl.models.caser import Caser
from chord_fl.models.frozen import frozen_weights
from chord_fl.models.spec import ModelSpec

ITEMS, WINDOW, DIM = 30, 6, 8
LAYOUT = layouts.caser(WINDOW, DIM)
WEIGHTS = frozen_weights(LAYOUT, 3, 1.0)


def model(dropout: float = 0.0, bits: int = 32) -> Caser:
    torch.manual_seed(0)
    built = Caser(ITEMS, WINDOW, DIM, dropout, bits)
    with torch.no_grad():
        for bias in built.biases:
            bias.normal_()
    return built.eval()


def windows(count: int, length: int = WINDOW) -> Tensor:
    found = torch.randint(1, ITEMS + 1, (count, length), generator=torch.Generator().manual_seed(1))
    found[0, :3] = 0
    return found


def by_convolutions(built: Caser, window: Tensor) -> Tensor:
    """The state [d] of one window [w], with torch's own convolutions over the matrix of its embeddings."""
    image = built.items(window)[None, None]  # [1, 1, w, d]
    parts = []
    for index, height in enumerate(layouts.CASER_HEIGHTS):
        filters = WEIGHTS[index].reshape(layouts.CASER_FILTERS, 1, height, DIM)
        responses = F.relu(F.conv2d(image, filters, built.biases[index])).squeeze(3)
        parts.append(responses.amax(2)[0])
    vertical = F.conv2d(
        image, WEIGHTS[-1].reshape(layouts.CASER_VERTICAL, 1, WINDOW, 1), built.biases[-1]
    )  # [1, 4, 1, d]
    parts.append(vertical[0, :, 0].T.reshape(-1))  # dimension by dimension, as the output layer reads them
    return built.output(torch.cat(parts))


def test_the_papers_layout() -> None:
    layout = layouts.caser(20, 64)
    assert layout.weights + layout.channels == 15_524 and layout.channels == 84
    assert [layer.size for layer in layout.layers] == [64, 128, 192, 256, 320, 20]


def test_a_short_window_has_no_filters_that_do_not_fit() -> None:
    assert [layer.name for layer in layouts.caser(3, 8).layers] == [
        "horizontal1",
        "horizontal2",
        "horizontal3",
        "vertical",
    ]
    built = Caser(ITEMS, 1, DIM)
    assert built(windows(2, 1), frozen_weights(layouts.caser(1, DIM), 0, 1.0)).shape == (2, 1, DIM)


@torch.no_grad()
def test_states_are_those_of_the_published_convolutions() -> None:
    built, some = model(), windows(5)
    found = built(some, WEIGHTS)
    assert found.shape == (5, 1, DIM)
    for row, window in enumerate(some):
        torch.testing.assert_close(found[row, 0], by_convolutions(built, window), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_a_long_sequence_gives_the_state_of_each_of_its_windows() -> None:
    built, long = model(), windows(3, WINDOW + 4)
    found = built(long, WEIGHTS)
    assert found.shape == (3, 5, DIM)
    for place in range(5):
        one = built(long[:, place : place + WINDOW], WEIGHTS)[:, 0]
        torch.testing.assert_close(found[:, place], one, rtol=1e-4, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("each", [1, 2])
def test_filters_per_device_are_as_good_as_a_loop_over_devices(each: int) -> None:
    built, some = model(), windows(4 * each, WINDOW + 2)
    own = [torch.stack([weight * (1 + device) for device in range(4)]) for weight in WEIGHTS]
    biases = [torch.stack([bias + device for device in range(4)]) for bias in built.biases]
    found = built(some, own, biases)
    for device in range(4):
        rows = slice(device * each, (device + 1) * each)
        alone = built(some[rows], [weight[device] for weight in own], [bias[device] for bias in biases])
        torch.testing.assert_close(found[rows], alone, rtol=1e-4, atol=1e-5)


def test_scores_are_products_with_the_item_embeddings() -> None:
    built = model()
    states = torch.randn(2, DIM)
    torch.testing.assert_close(built.score(states), states @ built.items.weight.T)


def test_dropout_works_in_training_alone() -> None:
    built = model(0.5)
    assert torch.equal(built(windows(3), WEIGHTS), built(windows(3), WEIGHTS))
    built.train()
    assert not torch.equal(built(windows(3), WEIGHTS), built(windows(3), WEIGHTS))


def test_training_sequences_are_one_window_longer_than_their_targets() -> None:
    spec = ModelSpec("caser", ITEMS, 1, DIM, WINDOW, 9, (2, 4, 6, 8), 5, 1.0)
    assert spec.lead == WINDOW - 1 and spec.span == caser.SPAN
    backbone = spec.build_backbone()
    assert backbone(windows(2, spec.lead + spec.span), spec.frozen_weights()).shape == (2, spec.span, DIM)
    shapes = {name: tuple(value.shape) for name, value in backbone.state_dict().items()}
    assert spec.backbone_shapes() == shapes
    assert math.prod(shapes["output.weight"]) == DIM * (5 * layouts.CASER_FILTERS + layouts.CASER_VERTICAL * DIM)


@torch.no_grad()
def test_switchable_biases_act_behind_maximum_and_dropout() -> None:
    torch.manual_seed(0)
    built = Caser(ITEMS, WINDOW, DIM, 0.5, bias_rows=(4,)).train()
    some, channels = windows(6), LAYOUT.channels
    plain = [torch.zeros(2, layer.channels) for layer in LAYOUT.layers]
    shifted = [bias.clone() for bias in plain]
    shifted[1][1, 3] = 2.0  # one channel of the second device
    shifted[-1][1, 2] = -1.0

    def states(biases: list[Tensor]) -> Tensor:
        torch.manual_seed(1)  # the same entries are dropped
        return built(some, WEIGHTS, biases)[:, 0]

    difference = states(shifted) - states(plain)
    columns = built.output.weight
    vertical = columns[:, channels - layouts.CASER_VERTICAL :].reshape(DIM, DIM, layouts.CASER_VERTICAL)
    expected = 2.0 * columns[:, layouts.CASER_FILTERS + 3] - vertical[:, :, 2].sum(1)
    torch.testing.assert_close(difference[:3], torch.zeros(3, DIM))
    torch.testing.assert_close(difference[3:], expected.expand(3, DIM), rtol=1e-4, atol=1e-5)
