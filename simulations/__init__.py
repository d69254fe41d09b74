"""Flower ServerApp and ClientApp, presets, the engine adapter and the command line."""
