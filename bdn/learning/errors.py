"""What can go wrong while learning: broken data is the caller's to mend, a lost device is not."""

from bdn.errors import BdnError, UsageError


class DataError(UsageError):
    """A data set that is missing, broken or of the wrong shape; the message names the file."""


class ModelError(UsageError):
    """Parameters, images or labels that do not fit the model."""


class DeviceError(BdnError):
    """The work of one device failed; the message names it."""


class TooFewDevicesError(BdnError):
    """So many devices failed or diverged that an epoch has no global update."""
