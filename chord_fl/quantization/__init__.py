"""The affine quantiser, mixed-precision layers and packed integers."""
