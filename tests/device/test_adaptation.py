from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from chord_fl.device.adaptation import LOW_BATTERY, LOW_BATTERY_BITS, Demotions, demotions, fit
from chord_fl.device.resources import Resources
from chord_fl.quantization.bank import bank
from chord_fl.quantization.packed import average_bits, packed_bytes


@dataclass(frozen=True)
class Model:
    """Frozen layers of random shapes and what a device derives from them."""

    weights: list[torch.Tensor]
    copies: list[torch.Tensor]
    order: Demotions


def model(seed: int, levels: tuple[int, ...] = (2, 4, 6, 8)) -> Model:
    generator = np.random.default_rng(seed)
    shapes = generator.integers(1, 8, (generator.integers(1, 4), 2))
    weights = [torch.from_numpy(generator.normal(size=shape).astype(np.float32)) for shape in shapes]
    copies = bank(weights, levels)
    return Model(weights, copies, demotions(copies, weights, levels))


def resources(memory: object, compute: object, battery: object) -> Resources:
    memory_bytes = np.asarray(memory, np.int64)
    links = np.ones(memory_bytes.shape)
    return Resources(memory_bytes, np.asarray(compute, np.float64), links, links, np.asarray(battery, np.float64))


def within(codes: NDArray[np.uint8], order: Demotions, device: Resources, row: int) -> bool:
    """The three limits as the paper's user would write them, for one device."""
    bits = order.levels[codes][None]
    return bool(
        packed_bytes(bits, order.sizes)[0] <= device.memory_bytes[row]
        and (bits[0] * order.sizes).sum() <= device.compute[row]
        and (device.battery[row] >= LOW_BATTERY or average_bits(bits, order.sizes)[0] <= LOW_BATTERY_BITS)
    )


def step_by_step(codes: NDArray[np.uint8], order: Demotions, device: Resources, row: int) -> list[NDArray[np.uint8]]:
    """Every plan that a device passes through while it lowers one code at a time until its limits hold."""
    plans = [codes.copy()]
    for channel, code in zip(order.channels, order.from_codes, strict=True):
        if within(plans[-1], order, device, row):
            break
        if plans[-1][channel] >= code:
            assert plans[-1][channel] == code  # a code is never skipped
            lower = plans[-1].copy()
            lower[channel] -= 1
            plans.append(lower)
    return plans


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([(2, 4, 6, 8), (2, 5, 6, 7)]))
def test_a_batch_walks_the_order_exactly_as_far_as_each_device_must(seed: int, levels: tuple[int, ...]) -> None:
    order = model(seed, levels).order
    generator = np.random.default_rng(seed + 1)
    devices, channels, total = 12, len(order.sizes), int(order.sizes.sum())
    codes = generator.integers(0, 4, (devices, channels)).astype(np.uint8)
    before = codes.copy()
    drawn = resources(
        generator.uniform(0.8, 9.0, devices) * total / 8 + 5 * channels,
        generator.uniform(1.8, 9.0, devices) * total,
        generator.uniform(0.05, 1.0, devices),
    )
    fitted = fit(codes, drawn, order)
    np.testing.assert_array_equal(codes, before)
    assert (fitted.codes <= codes).all() and fitted.codes.dtype == np.uint8
    np.testing.assert_array_equal(fitted.memory_bytes, packed_bytes(order.levels[fitted.codes], order.sizes))
    for row in range(devices):
        passed = step_by_step(codes[row], order, drawn, row)
        np.testing.assert_array_equal(fitted.codes[row], passed[-1])
        assert fitted.fits[row] == within(passed[-1], order, drawn, row)
        if fitted.fits[row]:
            assert not any(within(plan, order, drawn, row) for plan in passed[:-1])
        else:
            assert not fitted.codes[row].any()


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_within_a_channel_no_step_comes_before_a_higher_one(seed: int) -> None:
    order = model(seed).order
    for channel in range(len(order.sizes)):
        assert order.from_codes[order.channels == channel].tolist() == [3, 2, 1]


def test_the_cheapest_error_per_bit_goes_first() -> None:
    # one layer, three channels that differ in scale only: errors grow with the square of the scale
    shape = torch.linspace(-1, 1, 33)
    weights = [torch.stack([3 * shape, shape, 10 * shape])]
    copies = bank(weights, (2, 4, 6, 8))
    order = demotions(copies, weights, (2, 4, 6, 8))
    for code in (1, 2, 3):
        assert order.channels[order.from_codes == code].tolist() == [1, 0, 2]
    # a channel that loses nothing goes before all others, right down to the last code
    constant = [torch.stack([shape, torch.zeros(33)])]
    order = demotions(bank(constant, (2, 4, 6, 8)), constant, (2, 4, 6, 8))
    assert order.channels[:3].tolist() == [1, 1, 1]


def test_a_step_out_of_turn_waits_for_the_one_above() -> None:
    # errors given by hand: the step 2 -> 1 costs nothing, the step 3 -> 2 costs most; and a channel in between
    errors = np.array([[9.0, 9.0, 9.0, 0.0], [4.0, 3.0, 2.0, 1.0]])  # of codes 0..3, for two channels of one weight
    copies = [torch.from_numpy(np.sqrt(errors.T)[:, :, None])]
    order = demotions(copies, [torch.zeros(2, 1)], (2, 4, 6, 8))
    assert list(zip(order.channels.tolist(), order.from_codes.tolist(), strict=True)) == [
        (1, 3),
        (1, 2),
        (1, 1),
        (0, 3),
        (0, 2),
        (0, 1),
    ]


def test_error_is_weighed_against_the_bits_that_a_step_saves() -> None:
    # on the ladder 2-5-6-7 the last step saves three bits: 3 of error there is cheaper than 2 for a single bit
    errors = np.array([[9.0, 2.0, 0.0, 0.0], [3.0, 0.0, 0.0, 0.0]])  # of codes 0..3, for two channels of one weight
    copies = [torch.from_numpy(np.sqrt(errors.T)[:, :, None])]
    order = demotions(copies, [torch.zeros(2, 1)], (2, 5, 6, 7))
    steps = list(zip(order.channels.tolist(), order.from_codes.tolist(), strict=True))
    assert steps[-3:] == [(1, 1), (0, 2), (0, 1)]


def test_each_limit_alone_lowers_a_plan_and_none_leaves_it() -> None:
    order = model(5).order
    channels, total = len(order.sizes), int(order.sizes.sum())
    plenty = (10**9, 1e12, 1.0)
    tight = [plenty, (total * 4 // 8 + 5 * channels, *plenty[1:]), (10**9, 4 * total, 1.0), (10**9, 1e12, 0.19)]
    codes = np.full((4, channels), 3, np.uint8)
    fitted = fit(codes, resources(*zip(*tight, strict=True)), order)
    assert fitted.fits.all()
    bits = average_bits(order.levels[fitted.codes], order.sizes)
    assert bits[0] == 8 and (bits[1:3] <= 4).all() and bits[3] <= LOW_BATTERY_BITS
    assert fitted.memory_bytes[1] <= tight[1][0]


def test_a_limit_met_exactly_is_met() -> None:
    order = model(6).order
    codes = np.random.default_rng(0).integers(0, 4, (3, len(order.sizes))).astype(np.uint8)
    bits = order.levels[codes]
    exact = resources(packed_bytes(bits, order.sizes), bits @ order.sizes, [LOW_BATTERY] * 3)
    fitted = fit(codes, exact, order)
    np.testing.assert_array_equal(fitted.codes, codes)
    assert fitted.fits.all()


def test_a_device_that_cannot_hold_the_smallest_variant_says_so() -> None:
    order = model(7).order
    smallest = packed_bytes(order.levels[np.zeros((1, len(order.sizes)), np.int64)], order.sizes)[0]
    codes = np.full((3, len(order.sizes)), 3, np.uint8)
    fitted = fit(codes, resources([smallest, smallest - 1, 0], [1e12] * 3, [1.0] * 3), order)
    assert fitted.fits.tolist() == [True, False, False]
    assert not fitted.codes.any() and (fitted.memory_bytes == smallest).all()


@pytest.mark.parametrize("devices", [0, 1, 700])
def test_batches_of_any_length_are_fitted_device_by_device(devices: int) -> None:
    generator = np.random.default_rng(1)
    weights = [torch.from_numpy(generator.normal(size=(640, 8)).astype(np.float32))]
    order = demotions(bank(weights, (2, 4, 6, 8)), weights, (2, 4, 6, 8))
    codes = generator.integers(0, 4, (devices, 640)).astype(np.uint8)
    total = 640 * 8
    memory = (generator.uniform(1.5, 6, devices) * total / 8 + 5 * 640).astype(np.int64)
    compute, battery = generator.uniform(2, 6, devices) * total, generator.uniform(0.05, 1, devices)
    together = fit(codes, resources(memory, compute, battery), order)
    assert together.codes.shape == codes.shape
    for row in range(0, devices, 53):
        one = slice(row, row + 1)
        alone = fit(codes[one], resources(memory[one], compute[one], battery[one]), order)
        np.testing.assert_array_equal(alone.codes[0], together.codes[row])
        assert (alone.fits[0], alone.memory_bytes[0]) == (together.fits[row], together.memory_bytes[row])
