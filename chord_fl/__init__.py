"""CHORD: personalised mixed-precision recommenders, 2 bits per channel (ACM MM '25, arXiv 2510.03038)."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("chord-fl")
except PackageNotFoundError:  # a checkout that is on the path and not installed
    __version__ = "0+unknown"
