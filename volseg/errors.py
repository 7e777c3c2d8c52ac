"""The error tree of volseg.

Every error that a caller may want to tell apart is a class of its own, also derived from the built-in exception that
one would catch. Messages say what happened, where, what was expected, and the way out. Nothing else lives here.
"""

from __future__ import annotations


class VolsegError(Exception):
    """Base of every error that volseg raises on purpose."""


# --- wrong use or input: the command line ends with exit status 2 ---------------------------------------------------


class InputError(VolsegError, ValueError):
    """Wrong use or wrong input; nothing was written."""


class NotOmeZarrError(InputError):
    """The place exists, but is not an OME-Zarr image that volseg reads."""


class PromptError(InputError):
    """A prompts file or prompt is wrong; the message names the key and its place in the file."""


class NameRefusedError(InputError):
    """A name from a user, a file or metadata can't be used as a path component."""


class UnknownModelError(InputError, KeyError):
    """No model of this name, path or URL."""

    def __str__(self) -> str:  # KeyError would print the repr of the message
        return str(self.args[0]) if self.args else ""


class ModelUnavailableError(VolsegError, RuntimeError):
    """The model is known, but its weights can't be fetched or don't match their SHA-256."""


class NotThereError(InputError, FileNotFoundError):
    """A file, bucket, image, level, label image or run does not exist."""


class ExistsError(InputError, FileExistsError):
    """The target exists already, and overwriting was not asked for."""


class UnsupportedFormatError(InputError):
    """A file is damaged, or of a kind that volseg does not read or write."""


class MemoryBudgetError(InputError, MemoryError):
    """A plan needs more memory per task than a worker has; the message has the numbers."""


# --- storage -------------------------------------------------------------------------------------------------------


class StorageError(VolsegError, OSError):
    """The store failed past its retries; the message names the URL."""


class AccessDeniedError(StorageError, PermissionError):
    """The store refused the credentials or lacks the right for this operation."""


class NoListingError(AccessDeniedError, InputError):
    """The place can't tell what it has (a web server, a bucket without that right); single objects can be read."""


class StorageFullError(StorageError):
    """No space left where volseg writes."""


class AlreadyWrittenError(StorageError, FileExistsError):
    """A conditional create found the object there already (HTTP 412 to `If-None-Match: *`)."""


class ChangedError(StorageError):
    """A conditional put found another version than the one that was read (HTTP 412 to `If-Match`)."""


class AlignmentError(VolsegError, ValueError):
    """A write does not cover whole storage objects (invariant 1: one writer per storage object)."""


# --- editing -------------------------------------------------------------------------------------------------------


class ConflictError(VolsegError):
    """Another person's edit touches the same voxels; nothing was written. Names the chunks and who."""


class UnsavedEditsError(VolsegError):
    """Closing could not make every edit durable; the message says what is not and where its local copy lies."""


# --- jobs ----------------------------------------------------------------------------------------------------------


class PlanMismatchError(InputError):
    """A ledger or label image was made by another plan than the one at hand."""


class LeaseHeldError(VolsegError, BlockingIOError):
    """Another job holds the label image; the message names the holder."""


class LeaseLostError(VolsegError):
    """This job's lease was taken over; it must not write any more."""


class BlocksFailedError(VolsegError, RuntimeError):
    """Some blocks were quarantined or the run stopped early; the message has the report and the resume command."""


class InterruptedRunError(VolsegError, InterruptedError):
    """The run was interrupted (Ctrl-C, scheduler lost); it can be resumed."""


# --- how programs end ----------------------------------------------------------------------------------------------

FAILED_BLOCKS, WRONG_INPUT, INTERRUPTED = 1, 2, 130
"""Exit statuses of the command line and of flows, beside 0."""


def exit_status(error: VolsegError | KeyboardInterrupt) -> int:
    """Return the status with which a program ends on an error."""
    if isinstance(error, BlocksFailedError):
        return FAILED_BLOCKS
    if isinstance(error, InterruptedRunError | KeyboardInterrupt):
        return INTERRUPTED
    return WRONG_INPUT


def in_one_line(error: object) -> str:
    """Return an error as the one line that people see on standard error."""
    return f"volseg: {' '.join(str(error).split()) or 'interrupted'}"
