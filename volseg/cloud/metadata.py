"""The instance metadata service (IMDSv2): who this host is, and whether it will be taken away.

Uses only the standard library, since a worker polls it every few seconds and must start without
boto3. Source: AWS, "Use the Instance Metadata Service"; "Spot Instance interruption notices";
"Retrieve the target lifecycle state through instance metadata".
"""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request

ADDRESS = "http://169.254.169.254"
_TOKEN_SECONDS = 21600


class Metadata:
    """A client of the metadata service, with a session token (version 2 only).

    Parameters
    ----------
    address
        Of the service; by default ``AWS_EC2_METADATA_SERVICE_ENDPOINT`` or EC2's own.
    timeout_s
        Of one request, in seconds.
    """

    def __init__(self, address: str | None = None, timeout_s: float = 2.0) -> None:
        chosen = address or os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT") or ADDRESS
        self._address = chosen.rstrip("/")
        self._timeout_s = timeout_s
        self._token: str | None = None
        # never through a proxy: the address is this host's own
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def instance_id(self) -> str:
        """Return this instance's id.

        Raises
        ------
        OSError
            If the service doesn't answer.
        """
        return self._named("instance-id")

    def region(self) -> str:
        """Return the region this instance runs in.

        Raises
        ------
        OSError
            If the service doesn't answer.
        """
        return self._named("placement/region")

    def address(self) -> str:
        """Return this instance's address inside its network.

        Raises
        ------
        OSError
            If the service doesn't answer.
        """
        return self._named("local-ipv4")

    def notice(self) -> str | None:
        """Return why this instance will soon be taken away, or None.

        ``"spot"``: a spot interruption (terminate, stop or hibernate) was announced.
        ``"scale-in"``: the Auto Scaling group is terminating this instance.
        A service that doesn't answer announces nothing.
        """
        try:
            action = self._get("spot/instance-action")
            if action is not None and json.loads(action).get("action"):
                return "spot"
            if self._get("autoscaling/target-lifecycle-state") == "Terminated":
                return "scale-in"
        except (OSError, ValueError):
            return None
        return None

    def _named(self, path: str) -> str:
        """Read a path that every instance has."""
        found = self._get(path)
        if found is None:
            raise OSError(f"{self._address}: the metadata service names no {path}")
        return found

    def _get(self, path: str) -> str | None:
        """Read a path below ``latest/meta-data``; None where the service has none."""
        for attempt in (1, 2):
            try:
                return self._request("GET", f"meta-data/{path}", self._session())
            except urllib.error.HTTPError as error:
                if error.code == 404:
                    return None
                if error.code != 401 or attempt == 2:
                    raise
                self._token = None  # expired
        return None

    def _session(self) -> dict[str, str]:
        if self._token is None:
            ask = {"X-aws-ec2-metadata-token-ttl-seconds": str(_TOKEN_SECONDS)}
            self._token = self._request("PUT", "api/token", ask)
        return {"X-aws-ec2-metadata-token": self._token}

    def _request(self, method: str, path: str, headers: dict[str, str]) -> str:
        request = urllib.request.Request(
            f"{self._address}/latest/{path}", method=method, headers=headers
        )
        with self._opener.open(request, timeout=self._timeout_s) as answer:
            text: str = answer.read().decode()
            return text
