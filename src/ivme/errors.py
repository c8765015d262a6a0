"""The errors of ivme. The command line turns the first line of each into its message.

IvmeError                    everything below; exit status 1
    UsageError               the caller asked for something that cannot be; exit status 2
        ModelNotFoundError   no such folder, preset or hub model
        NotATextModelError   a model, but not one that reads text
        WorkloadError        texts that cannot be read, an empty file, a missing column
        DeviceError          a device that is not there
        UnknownEngineError   no engine of that name
        RecordError          a file that is not a record, or of a newer schema
        PlanError            a folder that is no plan, is damaged, or asks for what cannot be
        ThreadMismatchError  variants that would not run with equal threads
    RefusedError             an engine that cannot run this model, and why
    OutOfMemoryError         a configuration that did not fit
"""


class IvmeError(Exception):
    """Base of every error that ivme raises on purpose."""

    exit_status = 1


class UsageError(IvmeError):
    """The caller's request cannot be met; the message says what is allowed."""

    exit_status = 2


class ModelNotFoundError(UsageError):
    """No folder, preset or hub model has that name."""


class NotATextModelError(UsageError):
    """The model does not read text."""


class WorkloadError(UsageError):
    """The texts to run cannot be read."""


class DeviceError(UsageError):
    """The device is not on this machine."""


class UnknownEngineError(UsageError):
    """No engine has that name."""


class RecordError(UsageError):
    """The file is no record, is damaged, or was written by a newer version."""


class PlanError(UsageError):
    """The folder is no plan, is damaged, or asks for something that cannot be."""


class ThreadMismatchError(UsageError):
    """Variants differ in their number of threads, so a comparison would be void."""


class RefusedError(IvmeError):
    """An engine cannot run this model; the message is the reason."""


class OutOfMemoryError(IvmeError):
    """A configuration did not fit into memory."""
