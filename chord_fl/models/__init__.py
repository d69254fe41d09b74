"""The networks that both sides hold: the backbones and the profile encoder."""
