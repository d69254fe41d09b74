"""`--track tensorboard`: event files in the folder `tensorboard` of a run, for TensorBoard to show."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomli_w

from chord_fl.errors import ConfigError

try:
    from torch.utils.tensorboard import SummaryWriter
except ImportError as error:
    raise ConfigError(
        "--track tensorboard: the package tensorboard is not installed; pip install 'chord-fl[tensorboard]'"
    ) from error


class TensorBoard:
    """A scalar per figure, `training/ndcg@10` or `round/ndcg@10`, and the configuration as text."""

    def start(self, config: Mapping[str, Any], folder: Path) -> None:
        """Open an event file in `folder`."""
        self._writer = SummaryWriter(str(folder / "tensorboard"))
        self._writer.add_text("config", "\n".join(f"    {line}" for line in tomli_w.dumps(config).splitlines()))

    def log(self, kind: str, step: int, figures: Mapping[str, float]) -> None:
        """Write `figures`, and see to it that a board that is open shows them."""
        for name, value in figures.items():
            self._writer.add_scalar(f"{kind}/{name}", value, step)
        self._writer.flush()

    def close(self) -> None:
        """Close the event file."""
        self._writer.close()
