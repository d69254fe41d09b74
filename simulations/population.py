"""A population before anything is simulated with it: that its files can be read, and that some device can take part."""

from pathlib import Path

import numpy as np

from chord_fl.config import Config
from chord_fl.device import clock
from chord_fl.device.availability import online
from chord_fl.device.population import NAMED, Traits, traits
from chord_fl.device.resources import slot_bytes
from chord_fl.errors import ConfigError
from chord_fl.models.counts import reference_spec
from chord_fl.quantization.packed import packed_bytes


def check_population(config: Config, devices: int) -> None:
    """Read what the population of so many devices is made of; where budgets bind, one must hold the smallest variant.

    Raises ChordError.
    """
    clock.model(config.clock.cost)
    source, seed = config.population.source, config.seed
    phones = traits(source, seed, 0, devices)
    online(config.population.availability, seed, 0, 1, 0.0)
    layout = reference_spec(config.model, items=1, seed=seed).layout  # no item has a frozen weight
    narrowest = np.full((1, layout.channels), config.model.levels[0])
    smallest = int(packed_bytes(narrowest, layout.sizes)[0])
    slots = slot_bytes(phones, 4 * layout.weights)
    if config.population.constrain and slots.max() < smallest:
        best = int(slots.argmax())
        where = f"population {_place(source, phones, best)}"
        raise ConfigError(
            f"{where}: no device can hold the smallest variant of {smallest:,} bytes; "
            f"the most that one has is {slots[best]:,.0f}"
        )


def _place(source: str, phones: Traits, device: int) -> str:
    """Where a population says what memory a device has: a table by row; FedScale's clients have none of their own."""
    if source in NAMED or Path(source).suffix.lower() == ".json":
        return source
    column = "memory_bytes" if np.isfinite(phones.memory_bytes).any() else "ram_gb"
    return f"{source}, row {device + 1}, column {column}"
