"""A trained model on disk: `model.safetensors`, the configuration it was trained under, and the training curve.

A checkpoint's folder is named by its training key. No pickle: tensors are safetensors, the rest is TOML and CSV.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import safetensors
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from chord_fl.baselines import BASELINES
from chord_fl.cloud.model import ChordModel, FullPrecision
from chord_fl.config import Config
from chord_fl.errors import CheckpointError
from chord_fl.imports import imported
from chord_fl.models.spec import ModelSpec
from chord_fl.trees import describe_difference, read_toml, write_toml

MODEL_FILE = "model.safetensors"
CONFIG_FILE = "config.toml"
CURVE_FILE = "training.csv"


class Trained(NamedTuple):
    """A finished checkpoint in memory."""

    model: Any  # a cloud.model.CloudModel, or whatever a strategy fits for itself
    folder: Path


def build(config: Config, items: int, method: str) -> Any:
    """A fresh model for a catalogue of `items`; torch's random state decides it.

    `method` is "chord", "full" (trained in full precision) or the name of a baseline.
    """
    model = config.model
    scale = config.train.weight_scale if method == "chord" else 1.0
    spec = ModelSpec(
        backbone=model.backbone,
        items=items,
        blocks=model.blocks,
        dim=model.dim,
        window=model.window,
        history=model.history,
        levels=model.levels,
        frozen_seed=config.seed,
        frozen_scale=scale,
        activation_bits=model.activation_bits,
        switchable_biases=method == "chord" and model.biases == "switchable",
    )
    dropout = config.rates(method)[1]
    if method == "chord":
        return ChordModel(spec, model.beta, config.train.temperature, dropout, model.importance, model.standardised)
    return FullPrecision(spec, dropout) if method == "full" else imported(BASELINES[method])(spec, dropout)


def is_finished(folder: Path) -> bool:
    """Whether training in `folder` ran to its end."""
    return (folder / MODEL_FILE).is_file()


def check_config(folder: Path, config: Config, method: str) -> None:
    """Raise CheckpointError, naming the first key that differs, unless `folder` was trained under `config`."""
    try:
        found = read_toml(folder / CONFIG_FILE)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"checkpoint {folder}: {CONFIG_FILE} cannot be read ({error})") from error
    difference = describe_difference(found, config.training_view(method))
    if difference:
        raise CheckpointError(f"checkpoint {folder} is of another configuration: {difference}")


def load(folder: Path, config: Config, method: str, items: int) -> Trained:
    """The finished checkpoint in `folder`, in evaluation mode on the CPU.

    Raises CheckpointError if it is missing, damaged, of another configuration or of another catalogue.
    """
    if not is_finished(folder):
        raise CheckpointError(f"checkpoint {folder}: no {MODEL_FILE} there; train it with `chord-fl train`")
    check_config(folder, config, method)
    model = build(config, items, method)
    restore(model, read_tensors(folder / MODEL_FILE), folder)
    return Trained(model.eval(), folder)


def restore(model: torch.nn.Module, tensors: Mapping[str, Tensor], folder: Path) -> None:
    """Load `tensors` into `model`; CheckpointError where names or shapes differ."""
    try:
        model.load_state_dict(dict(tensors))
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(f"checkpoint {folder} does not fit: {reason}") from error


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file; CheckpointError if it is damaged."""
    try:
        return load_file(path)
    except (OSError, safetensors.SafetensorError) as error:
        raise CheckpointError(f"checkpoint {path} is damaged ({error}): delete it and train again") from error


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write a safetensors file whole or not at all."""
    partial = path.with_suffix(".partial")
    save_file({name: value.detach().cpu().contiguous() for name, value in tensors.items()}, partial)
    os.replace(partial, path)


def start_folder(folder: Path, config: Config, method: str) -> None:
    """Create `folder` for a training run, or check that the one begun there is of this configuration."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / CONFIG_FILE).exists():
            check_config(folder, config, method)
        else:
            write_toml(folder / CONFIG_FILE, config.training_view(method))
    except OSError as error:
        raise CheckpointError(f"checkpoint {folder} cannot be written ({error.strerror})") from error
