import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chord_fl.device.availability import DAY
from chord_fl.device.population import traits
from chord_fl.device.states import LEAST_BATTERY, recharged, state

PHONES = traits("phones", 0, 0, 20_000)


@given(st.floats(0, 30 * DAY))
def test_batteries_are_uniform_at_any_time(seconds: float) -> None:
    found = state(PHONES, 0, 0, seconds)
    assert found.battery.min() >= LEAST_BATTERY - 1e-9 and found.battery.max() <= 1
    assert abs(found.battery.mean() - 0.525) < 0.01
    assert abs(np.quantile(found.battery, 0.1) - (LEAST_BATTERY + 0.095)) < 0.01
    for name in ("charging", "metered", "busy"):
        assert abs(getattr(found, name).mean() - getattr(PHONES, name).mean()) < 0.02


def test_a_battery_falls_while_in_use_and_rises_while_charging() -> None:
    now, soon = state(PHONES, 0, 0, 1000.0), state(PHONES, 0, 0, 1600.0)
    same = now.charging == soon.charging
    rising = same & now.charging
    falling = same & ~now.charging
    assert (soon.battery > now.battery)[rising].all() and (soon.battery < now.battery)[falling].all()
    assert 0.9 < same.mean() < 1
    begun = ~now.charging & soon.charging
    assert begun.any() and (now.battery[begun] < LEAST_BATTERY + 0.05).all(), "it is plugged in when it is empty"


def test_after_a_day_a_battery_is_where_it_was() -> None:
    today, tomorrow = state(PHONES, 0, 0, 500.0), state(PHONES, 0, 0, 500.0 + DAY)
    np.testing.assert_allclose(today.battery, tomorrow.battery)
    np.testing.assert_array_equal(today.charging, tomorrow.charging)


def test_what_the_simulation_uses_comes_off_the_level() -> None:
    drained = 0.1 * PHONES.battery_joules
    full, less = state(PHONES, 0, 0, 0.0), state(PHONES, 0, 0, 0.0, drained)
    np.testing.assert_allclose(less.battery, np.maximum(full.battery - 0.1, 0))


def test_network_and_business_last_for_an_hour() -> None:
    first, same, next_ = (state(PHONES, 0, 0, seconds) for seconds in (0.0, 3599.0, 3600.0))
    for name in ("metered", "busy"):
        np.testing.assert_array_equal(getattr(first, name), getattr(same, name))
        assert (getattr(first, name) != getattr(next_, name)).any()


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_phones_that_never_or_always_charge(share: float) -> None:
    few = traits("phones", 0, 0, 100)
    few.charging[:] = share
    found = state(few, 0, 0, 7 * 3600.0)
    assert np.isfinite(found.battery).all() and (found.charging == (share == 1)).all()


@given(st.integers(0, 2**32), st.integers(0, 10**6), st.integers(1, 9), st.floats(0, 1e7), st.data())
def test_a_device_does_not_depend_on_its_company(
    seed: int, first: int, count: int, seconds: float, data: st.DataObject
) -> None:
    place = data.draw(st.integers(0, count - 1))
    together = state(traits("commuters", seed, first, count), seed, first, seconds)
    alone = state(traits("commuters", seed, first + place, 1), seed, first + place, seconds)
    for name, values in vars(together).items():
        assert values[place] == getattr(alone, name)[0]


MOMENTS = st.lists(st.floats(0, 5 * DAY), min_size=3, max_size=3).map(sorted)


@given(MOMENTS)
def test_what_charging_brings_back_adds_up_and_is_what_the_level_gains(moments: list[float]) -> None:
    few = traits("phones", 0, 0, 300)
    before, between, after = moments
    parts = recharged(few, 0, 0, before, between) + recharged(few, 0, 0, between, after)
    np.testing.assert_allclose(recharged(few, 0, 0, before, after), parts, atol=1e-3)
    assert (parts >= 0).all()
    one, other = state(few, 0, 0, before), state(few, 0, 0, after)
    charged_all_along = one.charging & other.charging & (after - before < 0.5 * few.charging * DAY)
    gained = (other.battery - one.battery) * few.battery_joules
    np.testing.assert_allclose(parts[charged_all_along], gained[charged_all_along], atol=1e-3)
    in_use = ~one.charging & ~other.charging & (after - before < 0.5 * few.charging * DAY)
    assert (parts[in_use] == 0).all()


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_day_brings_back_a_full_charge_or_nothing(share: float) -> None:
    few = traits("phones", 0, 0, 50)
    few.charging[:] = share
    full = (1 - LEAST_BATTERY) * few.battery_joules
    np.testing.assert_allclose(recharged(few, 0, 0, 100.0, 100.0 + DAY), full * share)
