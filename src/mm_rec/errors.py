"""The errors of mm_rec.

MMRecError                            everything below
    ShapeError                        an array of the wrong shape
    ConfigError                       a value, dtype, device or option that is not allowed
        ImplementationError           an implementation that is unknown or cannot run here
    DataError                         texts or a token file that cannot be used
    TrainingError                     a training run that cannot go on
        CheckpointError               a checkpoint that cannot be written, or none to read

The first two kinds are also ValueErrors, so that callers need not know this module to catch them.
Scripts end with status 2 for a ConfigError or DataError, and with 1 for any other.
"""


class MMRecError(Exception):
    """Base of every error that mm_rec raises on purpose."""


class ShapeError(MMRecError, ValueError):
    """An array has the wrong shape; the message names it and says what fits."""


class ConfigError(MMRecError, ValueError):
    """A value, dtype, device or option is not allowed; the message says what is."""


class ImplementationError(ConfigError):
    """The named implementation of an op is unknown, or cannot run on this input."""


class DataError(MMRecError):
    """Texts or a token file cannot be used; the message says why and what to do."""


class TrainingError(MMRecError):
    """A training run cannot go on; the message says where what was reached is kept."""


class CheckpointError(TrainingError):
    """A checkpoint cannot be written, or there is none that can be read."""
