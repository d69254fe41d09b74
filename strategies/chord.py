"""CHORD: every device uploads a profile and receives a precision plan of its own, 2 bits per channel."""

from abc import abstractmethod
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from chord_fl.blocks import in_blocks
from chord_fl.cloud.checkpoint import Trained
from chord_fl.config import Config
from chord_fl.errors import ChordError
from chord_fl.metrics import plan_difference, strangers
from chord_fl.models.layouts import Layout
from chord_fl.models.shipment import pack as pack_model
from chord_fl.report.channels import count_bits
from chord_fl.wire.ledger import Purpose
from chord_fl.wire.param import plan_mbit
from chord_fl.wire.plans import encode_plans
from chord_fl.wire.profiles import decode_profiles
from strategies.base import DeviceStrategy
from strategies.messages import DECISIONS, Reply, envelope_bytes, pack
from strategies.rounds import going_on


class PlanStrategy(DeviceStrategy):
    """Two exchanges: profiles up, plans down. A subclass says which plan a profile gets.

    The devices say who asks (`life.refresh`), the others run the plan that they hold. Every device also gets a
    stranger's plan to try, the control: accounted as such, and left out of its bytes.
    """

    method = "chord"
    action = "plan"
    question = "profile"
    heard = DECISIONS

    @abstractmethod
    def plans(self, profiles: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Plan codes 0..3 [N, C] for `profiles` [N, l] of the devices that ask, in the order of device ids."""

    @classmethod
    def pack_shipment(cls, config: Config, trained: Trained) -> bytes:
        """Shared parameters and the profile encoder; the frozen weights come from the seed."""
        model: Any = trained.model
        return pack_model(model.spec, model.backbone, model.encoder)

    @classmethod
    def param_mbit(cls, config: Config, layout: Layout) -> float:
        """2·C + 32·B; with a bias for each bit-width, 2·C + 4·32·B."""
        return plan_mbit(layout, len(config.model.levels) if config.model.biases == "switchable" else 1)

    def hear(self, server_round: int, replies: list[Reply]) -> dict[int, NDArray[np.int64]]:
        """Decode the profiles, make the plans that were asked for, and note whose profile was refused."""
        dim = self.trained.model.spec.dim
        cohorts, asking, decoded = {}, [], []
        for reply in replies:
            devices = reply.rows.index.to_numpy()
            messages = reply.payload.get("profile", [b""] * len(devices))
            self._account_profiles(server_round, devices, messages)
            asked = reply.rows["asked"].to_numpy() == 1
            profiles, refusals = decode_profiles(messages, self.fingerprint, dim)
            there, status = going_on(reply.rows), reply.rows["status"].to_numpy()
            unread = np.array([refusal or "" for refusal in refusals], dtype=object)
            unread[~asked] = np.where(self._planned[devices[~asked]], "", "asked for no plan, and has none")
            errors = np.where(there, unread, reply.rows["error"].to_numpy())
            good = there & (errors == "")
            self.fail(devices[~good], errors[~good].tolist(), status[~good])
            cohorts[reply.node] = devices[good]
            asking.append(devices[good & asked])
            decoded.append(profiles[good & asked])
        self._plan(np.concatenate([np.zeros(0, dtype=np.int64), *asking]), decoded)
        self._devices = np.sort(np.concatenate([np.zeros(0, dtype=np.int64), *cohorts.values()]))
        self._codes = self._latest[self._devices]
        self._strangers = self._codes[strangers(len(self._codes), self.config.seed)]
        return {node: devices for node, devices in cohorts.items() if len(devices)}

    def answers(self, server_round: int, devices: NDArray[np.int64]) -> dict[Purpose, list[bytes]]:
        """A plan for each device that asked; and a stranger's latest one for all, where there is a stranger."""
        rows, asked = np.searchsorted(self._devices, devices), np.isin(devices, self._asking)
        made = iter(encode_plans(self._codes[rows[asked]], self.fingerprint))
        answers: dict[Purpose, list[bytes]] = {"plan": [next(made) if here else b"" for here in asked]}
        if len(self._devices) > 1:
            answers["control"] = encode_plans(self._strangers[rows], self.fingerprint)
        return answers

    @property
    def plan_difference(self) -> float:
        """Of the plans made last for those that rank, as sent: before any device fits its own to its resources."""
        return plan_difference(self._codes)

    @property
    def channels(self) -> pd.DataFrame | None:
        """Of the same plans."""
        spec = self.trained.model.spec
        return count_bits(self._codes, spec.layout, spec.levels) if len(self._codes) else None

    @cached_property
    def _latest(self) -> NDArray[np.uint8]:
        """The plan that was made last for each device, [devices, C]; zeros before the first."""
        return np.zeros((self.record.devices, self.trained.model.spec.layout.channels), dtype=np.uint8)

    @cached_property
    def _planned(self) -> NDArray[np.bool_]:
        """For whom a plan was made, [devices]."""
        return np.zeros(self.record.devices, dtype=bool)

    def _plan(self, devices: NDArray[np.int64], profiles: list[NDArray[np.float32]]) -> None:
        """Make plans for `devices`, whose profiles are those in the list, one array after the other."""
        order = np.argsort(devices)
        self._asking = devices[order]
        if len(devices):
            made, wanted = self.plans(np.concatenate(profiles)[order]), (len(devices), self._latest.shape[1])
            if made.dtype != np.uint8 or made.shape != wanted or made.max() > 3:
                raise ChordError(
                    f"{type(self).__name__}.plans: found {made.dtype} {list(made.shape)}, expected codes 0 to 3, uint8 "
                    f"{list(wanted)}"
                )
            self._latest[self._asking] = made
            self._planned[self._asking] = True

    def _account_profiles(self, server_round: int, devices: NDArray[np.int64], messages: list[bytes]) -> None:
        sizes = np.array([len(message) for message in messages], dtype=np.int64)
        sent = sizes > 0  # a device that failed sent none
        alone = pack(columns={"device": [0]}, payload={"profile": messages[:1]})
        envelope = envelope_bytes(alone, "query.profile", len(messages[0])) if messages else 0
        self.record.ledger.add(server_round, devices[sent], "profile", "up", sizes[sent], envelope)


class Chord(PlanStrategy):
    """The paper's method: hypernetworks read the profile, Gamma and Lambda make the plan."""

    @torch.inference_mode()
    def plans(self, profiles: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Importance of every channel to every user, ranked into tiers, refined by layer."""
        model: Any = self.trained.model
        # in blocks of one size: a plan depends neither on how many devices ask nor on which others do
        return in_blocks(model.codes, torch.from_numpy(profiles)).numpy()
