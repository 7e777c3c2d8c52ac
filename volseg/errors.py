"""The error tree of volseg.

Every error that a caller may want to tell apart is a class of its own, also derived from the built-in exception that
one would catch. Messages say what happened, where, what was expected, and the way out. Nothing else lives here.
"""

from __future__ import annotations

import errno
import os


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


class GoneError(StorageError, FileNotFoundError):
    """What was open went away: its folder was moved or deleted, or its share is not mounted; nothing was written."""


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

FAILED_BLOCKS, WRONG_INPUT, INTERRUPTED, PIPE_CLOSED = 1, 2, 130, 141
"""Exit statuses of the command line and of flows, beside 0; the last is a shell's for SIGPIPE."""


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


_WORDS = {
    errno.ENOENT: "there is no such file or folder; check the path, and make the folder of a new file first",
    errno.ENOTDIR: "a part of this path is a file, not a folder",
    errno.EISDIR: "this is a folder; expected a file",
    errno.EEXIST: "it exists already, as a file or a folder; choose another place",
    errno.ENAMETOOLONG: "the name is too long for this disk; choose a shorter one",
    errno.ELOOP: "these links lead in a circle",
    errno.EACCES: "access denied; check the permissions, or choose another place",
    errno.EPERM: "access denied; check the permissions, or choose another place",
    errno.EROFS: "this place can only be read; choose another one",
    errno.ENOSPC: "no space left; free some, or choose another place",
    errno.EDQUOT: "the quota is used up; free some space, or choose another place",
    errno.EMFILE: "too many open files; raise the limit (ulimit -n)",
    errno.ENFILE: "too many open files on this machine",
    errno.EIO: "the disk failed to read or write",
    errno.ENOMEM: "not enough memory",
}
"""What system errors mean for a person, and the way out."""


def explain(error: Exception) -> VolsegError:
    """Return what an error of whatever kind means for a person, as an error of this tree.

    Parameters
    ----------
    error
        Errors of this tree are returned as they are. Of the system's, the message names the path; of any
        other, which nobody foresaw, its kind and the way to find out more.
    """
    if isinstance(error, VolsegError):
        return error
    if isinstance(error, OSError) and error.errno is not None:
        return _explain_system_error(error)
    if isinstance(error, UnicodeEncodeError):
        text = os.fsencode(error.object).decode("utf-8", "backslashreplace")
        return InputError(f"{text[:200]!r}: this text can't be written as {error.encoding}")
    if isinstance(error, UnicodeDecodeError):
        return InputError(
            f"expected text in {error.encoding}, found byte {error.object[error.start]:#04x}"
        )
    if isinstance(error, MemoryError):
        return MemoryBudgetError(
            f"not enough memory{f': {error}' if str(error) else ''}; close other programs, or use a larger machine"
        )
    if isinstance(error, ModuleNotFoundError):
        return InputError(
            f"the package {error.name!r} is needed for this, but not installed: pip install it"
        )
    said = " ".join(str(error).split())[:300]
    return VolsegError(
        f"unforeseen {type(error).__name__}{f': {said}' if said else ''}. This is a fault of volseg: "
        "please report it with what `volseg --verbose …` shows"
    )


def _explain_system_error(error: OSError) -> VolsegError:
    """The same for an error with a number; a rename's goal says more than its temporary name."""
    words = _WORDS.get(error.errno or 0, error.strerror or "the system refused")
    name = error.filename2 or error.filename
    where = "" if name is None else f"{os.fsdecode(name) if isinstance(name, bytes) else name}: "
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return NotThereError(where + words)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageFullError(where + words)
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return AccessDeniedError(where + words)
    return StorageError(where + words)
