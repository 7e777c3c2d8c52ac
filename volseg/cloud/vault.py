"""The secrets of one stack: SecureString in SSM Parameter Store, each below the role that reads it.

`/volseg/<stack>/head/…` is for the head node, `worker/…` for workers, `client/…` and `authority/…`
for people.
"""

from __future__ import annotations

from typing import Any

from volseg.cloud.certs import ROLES, Authority, Identity, check_role, issue
from volseg.cloud.failures import telling
from volseg.errors import ExistsError, NotThereError


class Vault:
    """The secrets of one stack, below ``/volseg/<stack>/``, all SecureString.

    Parameters
    ----------
    ssm
        boto3 client.
    stack
        Name of the stack.
    """

    def __init__(self, ssm: Any, stack: str) -> None:
        self._ssm = ssm
        self._root = f"/volseg/{stack}"
        self._stack = stack

    def put(self, name: str, value: str, *, replace: bool = False) -> None:
        """Keep a secret.

        Raises
        ------
        ExistsError
            If it is there and `replace` was not asked for.
        """
        with telling(f"keeping {self._root}/{name}"):
            try:
                self._ssm.put_parameter(
                    Name=f"{self._root}/{name}",
                    Value=value,
                    Type="SecureString",
                    Overwrite=replace,
                )
            except self._ssm.exceptions.ParameterAlreadyExists as error:
                raise ExistsError(f"{self._root}/{name} is there already in SSM") from error

    def get(self, name: str) -> str:
        """Read a secret.

        Raises
        ------
        NotThereError
            If SSM has none of this name.
        """
        with telling(f"reading {self._root}/{name}"):
            try:
                found = self._ssm.get_parameter(Name=f"{self._root}/{name}", WithDecryption=True)
            except self._ssm.exceptions.ParameterNotFound as error:
                raise NotThereError(
                    f"{self._root}/{name} is not in SSM; "
                    f"`volseg cloud certs --stack {self._stack}` makes it"
                ) from error
        return str(found["Parameter"]["Value"])

    def names(self) -> list[str]:
        """Names of what is kept, sorted, without their values."""
        with telling(f"listing {self._root}"):
            pages = self._ssm.get_paginator("get_parameters_by_path").paginate(
                Path=self._root, Recursive=True, WithDecryption=False
            )
            cut = len(self._root) + 1
            return sorted(p["Name"][cut:] for page in pages for p in page["Parameters"])

    def empty(self) -> None:
        """Delete everything that is kept for this stack."""
        names = [f"{self._root}/{name}" for name in self.names()]
        with telling(f"deleting {self._root}"):
            for start in range(0, len(names), 10):  # the most that one call takes
                self._ssm.delete_parameters(Names=names[start : start + 10])

    # --- certificates

    def keep_authority(self, authority: Authority, *, renew: bool = False) -> None:
        """Keep an authority and freshly issued identities of all roles, its key apart."""
        self.put("authority/key", authority.key, replace=renew)
        self.put("authority/certificate", authority.certificate, replace=renew)
        for role in ROLES:
            self.keep_identity(role, issue(authority, role), renew=renew)

    def keep_identity(self, role: str, identity: Identity, *, renew: bool = False) -> None:
        """Keep one role's identity where only that role reads it."""
        self.put(f"{role}/authority", identity.authority, replace=renew)
        self.put(f"{role}/certificate", identity.certificate, replace=renew)
        self.put(f"{role}/key", identity.key, replace=renew)

    def authority(self) -> Authority:
        """Read the authority; only people may."""
        return Authority(self.get("authority/certificate"), self.get("authority/key"))

    def identity(self, role: str) -> Identity:
        """Read a role's identity."""
        check_role(role)
        return Identity(
            self.get(f"{role}/authority"), self.get(f"{role}/certificate"), self.get(f"{role}/key")
        )
