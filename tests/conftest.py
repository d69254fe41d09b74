"""Settings that every test shares."""

import os

import torch
from hypothesis import settings

# Quiet engines, no phoning home; Ray's workers find the packages of this checkout.
os.environ.update(FLWR_TELEMETRY_ENABLED="0", FLWR_DISABLE_UPDATE_CHECK="1", RAY_USAGE_STATS_ENABLED="0")

torch.set_num_threads(1)  # several threads on tiny matrices cost more than they bring

settings.register_profile("chord-fl", deadline=None)  # tests never assert times
settings.load_profile("chord-fl")
