"""One root for every error Folioscope raises on purpose.

The split matters to callers: an ``InputError`` is the user's to mend, a
``StorageError`` names an index that needs ``verify`` or ``repair``, and anything
outside this tree is a bug in Folioscope and should keep its traceback.
Every message says what happened, where, and what to do about it.
"""


class FolioscopeError(Exception):
    """Root of Folioscope's errors; ``exit_code`` is what the command returns for it."""

    exit_code = 1


class InputError(FolioscopeError):
    """The user's file, argument or filter cannot be used."""

    exit_code = 2


class StorageError(FolioscopeError):
    """The index on disk is missing, damaged, locked, or written by another version."""

    exit_code = 3


class EncoderError(FolioscopeError):
    """Encoder weights are missing or altered, or do not match the index."""

    exit_code = 4


class ServiceError(FolioscopeError):
    """A service Folioscope depends on failed or timed out."""

    exit_code = 5
