from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chord_fl.config import ClockConfig
from chord_fl.device.clock import Load, cost, model
from chord_fl.device.resources import Resources
from chord_fl.device.states import State
from chord_fl.errors import ConfigError

PLAIN = ClockConfig()


def spent(
    load: Load, score: float = 1000.0, link: float = 1e6, last: bool = True, clock: ClockConfig = PLAIN, **is_: bool
) -> Any:
    """Seconds and joules of one device."""
    one = np.ones(1)
    resources = Resources(one.astype(np.int64), one, link * one, link * one, one)
    flags = {name: np.array([is_.get(name, False)]) for name in ("charging", "metered", "busy")}
    found = cost(load, score * one, resources, State(battery=one, **flags), clock, last)
    return float(found.seconds[0]), float(found.joules[0])


def test_a_transfer_by_hand() -> None:
    clock = ClockConfig(round_trips=2, wifi_latency=0.5, wifi_watts=3, wifi_joules_down=1e-6, wifi_joules_up=1e-5)
    seconds, joules = spent(Load(down_bytes=2_000_000, up_bytes=1_000_000), clock=clock)
    assert seconds == pytest.approx(2 * 0.5 + 2 + 1)
    assert joules == pytest.approx(3 * 4 + 2 + 10)


def test_a_computation_by_hand() -> None:
    clock = ClockConfig(operations_per_score=1e6, memory_bandwidth=1e6, processor_watts=5, memory_joules=1e-6)
    seconds, joules = spent(Load(operations=3e9, read_bytes=500_000), score=1000, clock=clock)
    assert seconds == pytest.approx(3 + 0.5)
    assert joules == pytest.approx(5 * 3.5 + 0.5)


def test_who_transfers_nothing_needs_no_radio() -> None:
    assert spent(Load(), metered=True) == (0.0, 0.0)
    assert spent(Load(operations=1e6)) == spent(Load(operations=1e6), metered=True)


def test_a_metered_network_is_cellular_and_its_radio_stays_awake_once_a_round() -> None:
    load = Load(down_bytes=336)
    (wifi, _), (slow, much), (_, less) = spent(load), spent(load, metered=True), spent(load, metered=True, last=False)
    assert slow > wifi and much - less == pytest.approx(PLAIN.cellular_tail)


def test_a_busy_processor_is_slower() -> None:
    load = Load(operations=1e9)
    assert spent(load, busy=True)[0] == pytest.approx(spent(load)[0] / PLAIN.busy_share)


@given(st.integers(0, 10**9), st.integers(0, 10**9), st.floats(0, 1e12), st.integers(0, 10**9), st.booleans())
def test_more_of_anything_costs_no_less(down: int, up: int, operations: float, read: int, metered: bool) -> None:
    load = Load(down, up, operations, read)
    seconds, joules = spent(load, metered=metered)
    assert seconds >= 0 and joules >= 0
    for more in ({"down_bytes": down + 1000}, {"up_bytes": up + 1000}, {"operations": operations * 2 + 1}):
        longer, hotter = spent(replace(load, **more), metered=metered)  # type: ignore[arg-type]
        assert longer >= seconds and hotter >= joules
    assert spent(load, score=2000.0, metered=metered)[0] <= seconds
    assert spent(load, link=2e6, metered=metered)[0] <= seconds


def test_the_model_is_the_function_that_the_configuration_names() -> None:
    assert model(PLAIN.cost) is cost
    for name in ("no_such_module:cost", "chord_fl.device.clock:nothing", "chord_fl.device.availability:DAY"):
        with pytest.raises(ConfigError, match=r"clock\.cost = "):
            model(name)
