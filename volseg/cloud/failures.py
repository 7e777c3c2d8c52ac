"""What AWS answers, told as errors that name the call, the thing and the way out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from volseg.errors import AccessDeniedError, InputError, VolsegError

_REFUSED = (
    "AccessDenied",
    "AccessDeniedException",
    "UnauthorizedOperation",
    "AuthFailure",
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidClientTokenId",
    "UnrecognizedClientException",
    "SignatureDoesNotMatch",
)


class CloudError(VolsegError, RuntimeError):
    """AWS could not do what was asked; the message names the call and what AWS said."""


def aws_client(service: str, region: str | None = None) -> Any:
    """Return a boto3 client with the usual credentials, retrying with back-off.

    Parameters
    ----------
    service
        Such as ``"ec2"``.
    region
        Overrides the one of environment and profile.

    Raises
    ------
    CloudError
        If boto3 is not installed.
    InputError
        If no region is set.
    """
    try:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import NoRegionError
    except ImportError as error:
        raise CloudError("boto3 is missing: install volseg[aws]") from error
    config = Config(retries={"mode": "standard", "max_attempts": 8})
    try:
        return boto3.client(service, region_name=region, config=config)
    except NoRegionError as error:
        raise InputError("no AWS region: set AWS_REGION, or pass --region") from error


@contextmanager
def telling(what: str) -> Iterator[None]:
    """Turn botocore's errors inside the block into volseg's; `what` says what was being done.

    Raises
    ------
    AccessDeniedError
        Where AWS refused the credentials or the right.
    CloudError
        For everything else that AWS or the way to it refused.
    """
    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

    try:
        yield
    except NoCredentialsError as error:
        raise AccessDeniedError(
            f"{what}: no AWS credentials found; set AWS_PROFILE or log in with `aws sso login`"
        ) from error
    except ClientError as error:
        code = code_of(error)
        said = error.response.get("Error", {}).get("Message", str(error))
        call = error.operation_name
        if code in _REFUSED:
            raise AccessDeniedError(f"{what}: {call} was refused ({code}): {said}") from error
        raise CloudError(f"{what}: {call} failed ({code}): {said}") from error
    except BotoCoreError as error:
        raise CloudError(f"{what}: {error}") from error


def code_of(error: Any) -> str:
    """Return the error code in a botocore ClientError, such as ``"ValidationError"``."""
    return str(error.response.get("Error", {}).get("Code", ""))
