"""Translation of what obstore and the operating system raise into the error tree of volseg."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager

from volseg.errors import (
    AccessDeniedError,
    AlreadyWrittenError,
    ChangedError,
    NotThereError,
    StorageError,
    StorageFullError,
    VolsegError,
)
from volseg.storage.urls import SCHEMES, Location

_DENIED = (
    "AccessDenied",
    "ExpiredToken",
    "InvalidAccessKeyId",
    "InvalidToken",
    "SignatureDoesNotMatch",
    "TokenRefreshRequired",
    "401 Unauthorized",
    "403 Forbidden",
    "169.254.169.254",  # no credentials found, so the instance's own were asked for
    "Permission denied (os error",
)
_ELSEWHERE = (
    "PermanentRedirect",
    "AuthorizationHeaderMalformed",
    "IllegalLocationConstraint",
    "redirect without LOCATION",
)
_FULL = ("No space left on device", "os error 28", "os error 122", "Disk quota exceeded")
_FULL_NUMBERS = (errno.ENOSPC, errno.EDQUOT)
_DENIED_NUMBERS = (errno.EACCES, errno.EPERM, errno.EROFS)


class TransientError(StorageError):
    """A failure of the way to the store after which it is unknown whether the request took effect."""


@contextmanager
def translated(location: Location, key: str = "") -> Iterator[None]:
    """Raise what happens inside as a class of `volseg.errors` that names the URL.

    Parameters
    ----------
    location, key
        The store's root and the key that is read or written, for the message.
    """
    try:
        yield
    except VolsegError:
        raise
    except Exception as error:
        translation = translate(error, location, key)
        if translation is None:
            raise
        raise translation from error


def translate(
    error: Exception, location: Location, key: str = ""
) -> StorageError | NotThereError | None:
    """Return the volseg error that says what `error` means at this place; None for one that is no storage error."""
    where = f"{location}/{key}" if key else str(location)
    if isinstance(error, OSError) and error.errno is not None:
        return _from_errno(error, where)
    name = type(error).__name__
    text = str(error)
    from_obstore = type(error).__module__.startswith("obstore")
    if not from_obstore and not isinstance(error, (OSError, ValueError)):
        return _from_driver(error, where) if location.scheme not in SCHEMES else None
    if "NoSuchBucket" in text:
        return missing_bucket(location)
    if name == "AlreadyExistsError":
        return AlreadyWrittenError(f"{where} exists already")
    if name == "PreconditionError":
        return ChangedError(f"{where} was changed by someone else since it was read")
    if (refusal := _of_s3(where, text)) is not None:
        return refusal
    if name in ("PermissionDeniedError", "UnauthenticatedError") or any(s in text for s in _DENIED):
        return denied(where, text)
    if any(s in text for s in _FULL):
        return StorageFullError(_full_message(where))
    if isinstance(error, FileNotFoundError):
        return NotThereError(f"{where} does not exist")
    if isinstance(error, ValueError) and not from_obstore:
        return _from_driver(error, where) if location.scheme not in SCHEMES else None
    said = re.search(r"status code: (4\d\d)", text)
    if said is not None and said.group(1) not in ("408", "429"):
        code = re.search(r"<Code>(\w+)</Code>", text)
        return StorageError(
            f"{where}: the store refused the request ({said.group(1)}{', ' + code.group(1) if code else ''})"
        )
    return TransientError(f"{where}: the store failed past its retries: {_first_line(text)}")


def _of_s3(where: str, text: str) -> StorageError | None:
    """Return what S3's own words mean that are neither missing objects nor missing rights."""
    if "RequestTimeTooSkewed" in text:
        return AccessDeniedError(
            f"{where}: the clock of this machine and that of the store differ by more than 15 minutes, so that every "
            "request is refused (RequestTimeTooSkewed); set this machine's clock"
        )
    if "ExpiredToken" in text or "TokenRefreshRequired" in text:
        return AccessDeniedError(
            f"{where}: the credentials have expired; log in again, or set a new AWS_SESSION_TOKEN"
        )
    if any(word in text for word in _ELSEWHERE):
        region = re.search(r"<Region>([\w-]+)</Region>", text)
        region = region or re.search(r"x-amz-bucket-region\W+([a-z]+-[\w-]+)", text)
        which = f": {region.group(1)}" if region else "; its owner knows which"
        return StorageError(
            f"{where}: the bucket lies in another region{which}; set AWS_REGION to it"
        )
    return None


def _from_driver(error: Exception, where: str) -> StorageError:
    """Return the error for whatever an fsspec driver raises: each has a tree of its own."""
    said = f"{type(error).__name__}: {_first_line(str(error))}"
    return StorageError(f"{where}: the place can't be read ({said})")


def missing_bucket(location: Location) -> NotThereError:
    """The error for a bucket that is not there."""
    return NotThereError(
        f"bucket {location.bucket!r} of {location} does not exist; check its name and AWS_ENDPOINT_URL, or create it"
    )


def denied(where: str, text: str) -> AccessDeniedError:
    """The error for refused or missing credentials."""
    code = re.search(r"<Code>(\w+)</Code>", text)
    said = f" ({code.group(1)})" if code else ""
    hint = "check the permissions of the folder"
    if where.startswith("s3://"):
        hint = (
            "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, and the rights of that user "
            "(AWS_SKIP_SIGNATURE=true for public data, AWS_REQUEST_PAYER=true where the reader pays)"
        )
    elif where.startswith("http"):
        hint = "the web server shows it only to those who log in, or it does not exist"
    elif "://" in where:
        hint = "check the credentials that this kind of place uses"
    return AccessDeniedError(f"{where}: access denied{said}; {hint}")


def _from_errno(error: OSError, where: str) -> StorageError | NotThereError:
    number = error.errno
    if number == errno.ENOENT:
        return NotThereError(f"{where} does not exist")
    if number in _FULL_NUMBERS:
        return StorageFullError(_full_message(where))
    if number in _DENIED_NUMBERS:
        return denied(where, str(error))
    if number == errno.ENOTDIR:
        return NotThereError(f"{where} does not exist: a part of its path is a file, not a folder")
    return StorageError(f"{where}: {error.strerror or error}")


def _full_message(where: str) -> str:
    return f"{where}: no space left; free some, or write elsewhere"


def _first_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[0][:400] if lines else "no message"
