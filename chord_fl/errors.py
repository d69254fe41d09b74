"""The errors that a user or a peer can cause. Each carries one line that says what is wrong and what to do."""


class ChordError(Exception):
    """Anything that the command line reports in one line, with exit code 2, instead of a traceback."""


class ConfigError(ChordError):
    """A configuration key that is unknown, or a value out of its range; names key, value and what is allowed."""


class DataError(ChordError):
    """A data set that cannot be obtained, read or used; says what to do about it."""


class CheckpointError(ChordError):
    """A checkpoint that is missing, damaged, or of another configuration."""


class WireError(ChordError):
    """A message that is refused: truncated, flipped, foreign, oversized, or of another version or model."""


def printable(text: str) -> str:
    """`text` with a question mark for whatever a terminal would act upon: parts of a message may come from a peer."""
    return "".join(character if character.isprintable() else "?" for character in text)
