"""S3 endpoint, region and credentials from the usual AWS environment variables and profiles.

volseg keeps no credentials and never logs any: they are read anew wherever a store is opened, also on workers.
"""

from __future__ import annotations

import configparser
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from volseg.errors import AccessDeniedError, InputError

if TYPE_CHECKING:
    from obstore.store import ClientConfig, S3Config

_TRUE = ("1", "true", "yes", "on")
# a workload's own identity, which obstore asks for by itself
_WORKLOAD = (
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
)


def s3_settings() -> tuple[S3Config, ClientConfig, Callable[[], Any] | None]:
    """Return obstore's S3 settings, client settings and, for a profile, a provider of its credentials.

    Order: keys in the environment (unless AWS_PROFILE is set and they are not), then the profile, then the identity of
    the instance or container. An endpoint set by AWS_ENDPOINT_URL(_S3) or in the profile is addressed path style, and
    without TLS where it says ``http://``.

    Raises
    ------
    InputError
        Where a profile is needed and boto3 is missing, or the profile is unknown.
    AccessDeniedError
        Where an endpoint outside AWS is set and no credentials can be found.
    """
    env = os.environ
    config: S3Config = {}
    profile = _profile_settings() if _uses_profile() else {}
    region = env.get("AWS_REGION") or env.get("AWS_DEFAULT_REGION") or profile.get("region")
    config["region"] = region or "us-east-1"
    endpoint = env.get("AWS_ENDPOINT_URL_S3") or env.get("AWS_ENDPOINT_URL")
    endpoint = endpoint or profile.get("endpoint_url")
    if env.get("AWS_REQUEST_PAYER", "").lower() in (*_TRUE, "requester"):
        config["request_payer"] = True
    client: ClientConfig = {"connect_timeout": "5s", "timeout": "120s"}
    if endpoint:
        config["endpoint"] = _checked_endpoint(endpoint)
        config["virtual_hosted_style_request"] = False
        if endpoint.lower().startswith("http://"):
            client["allow_http"] = True
    provider: Callable[[], Any] | None = None
    if env.get("AWS_SKIP_SIGNATURE", "").lower() in _TRUE:
        config["skip_signature"] = True
    elif env.get("AWS_ACCESS_KEY_ID"):
        config.update(_keys())
    elif _uses_profile():
        provider = _profile_provider()
    elif endpoint and not any(env.get(name) for name in _WORKLOAD) and not _is_aws(endpoint):
        raise AccessDeniedError(
            f"no credentials for {endpoint}: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, "
            "or AWS_SKIP_SIGNATURE=true for public data"
        )
    return config, client, provider


def _keys() -> S3Config:
    secret = os.environ.get("AWS_SECRET_ACCESS_KEY")
    if not secret:
        raise AccessDeniedError(
            "AWS_ACCESS_KEY_ID is set, but AWS_SECRET_ACCESS_KEY is not; set both"
        )
    keys: S3Config = {"access_key_id": os.environ["AWS_ACCESS_KEY_ID"], "secret_access_key": secret}
    token = os.environ.get("AWS_SESSION_TOKEN")
    if token:
        keys["session_token"] = token
    return keys


def _uses_profile() -> bool:
    env = os.environ
    if env.get("AWS_ACCESS_KEY_ID") or env.get("AWS_SKIP_SIGNATURE", "").lower() in _TRUE:
        return False
    if env.get("AWS_PROFILE") or env.get("AWS_DEFAULT_PROFILE"):
        return True
    return _has_default_profile()


def _has_default_profile() -> bool:
    """Tell whether the user's AWS files have a default profile, without needing boto3."""
    files = {
        "AWS_SHARED_CREDENTIALS_FILE": "~/.aws/credentials",
        "AWS_CONFIG_FILE": "~/.aws/config",
    }
    for variable, usual in files.items():
        path = Path(os.environ.get(variable) or usual).expanduser()
        parser = configparser.RawConfigParser(strict=False)
        try:
            parser.read(path)
        except (configparser.Error, UnicodeDecodeError, OSError) as error:
            raise InputError(
                f"{path} can't be read: {type(error).__name__}; mend or remove it"
            ) from None
        if parser.has_section("default"):
            return True
    return False


def _session() -> Any:
    try:
        import botocore.exceptions
        import botocore.session
    except ImportError:
        raise InputError(
            "AWS profiles need boto3: install volseg[aws], or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        ) from None
    name = os.environ.get("AWS_PROFILE") or os.environ.get("AWS_DEFAULT_PROFILE")
    session = botocore.session.Session(profile=name)
    try:
        session.get_scoped_config()
    except botocore.exceptions.BotoCoreError as error:
        raise InputError(f"AWS profile {name!r}: {error}") from None
    return session


def _profile_settings() -> dict[str, str]:
    session = _session()
    scoped = session.get_scoped_config()
    endpoint = scoped.get("endpoint_url")
    services = session.full_config.get("services", {})
    service = services.get(scoped.get("services"), {}).get("s3", {})
    if isinstance(service, dict):
        endpoint = service.get("endpoint_url", endpoint)
    found = {"region": scoped.get("region"), "endpoint_url": endpoint}
    return {key: value for key, value in found.items() if value}


def _profile_provider() -> Callable[[], Any]:
    from obstore.auth.boto3 import Boto3CredentialProvider

    session = _session()
    if session.get_credentials() is None:
        name = os.environ.get("AWS_PROFILE") or "default"
        raise AccessDeniedError(
            f"AWS profile {name!r} has no credentials; add keys to it, or log in"
        )
    provider: Callable[[], Any] = Boto3CredentialProvider(session)
    return provider


def _checked_endpoint(endpoint: str) -> str:
    split = urlsplit(endpoint)
    if split.scheme not in ("http", "https") or not split.hostname:
        raise InputError(
            f"AWS_ENDPOINT_URL is {endpoint!r}; expected http://host:port or https://host"
        )
    return endpoint.rstrip("/")


def _is_aws(endpoint: str) -> bool:
    host = urlsplit(endpoint).hostname or ""
    return host.endswith((".amazonaws.com", ".amazonaws.com.cn"))
