"""CHORD: personalised mixed-precision recommenders, 2 bits per channel (ACM MM '25, arXiv 2510.03038)."""

__version__ = "0.1.0"
