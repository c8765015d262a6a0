"""The errors of mm_rec.

MMRecError                            everything below
    ShapeError                        an array of the wrong shape
    ConfigError                       a value, dtype, device or option that is not allowed
        ImplementationError           an implementation that is unknown or cannot run here

Both kinds are also ValueErrors, so that callers need not know this module to catch them.
"""


class MMRecError(Exception):
    """Base of every error that mm_rec raises on purpose."""


class ShapeError(MMRecError, ValueError):
    """An array has the wrong shape; the message names it and says what fits."""


class ConfigError(MMRecError, ValueError):
    """A value, dtype, device or option is not allowed; the message says what is."""


class ImplementationError(ConfigError):
    """The named implementation of an op is unknown, or cannot run on this input."""
