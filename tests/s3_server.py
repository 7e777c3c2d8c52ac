"""A real S3 server (moto) in a process of its own, with signatures checked, for tests and benchmarks."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

import boto3

REGION = "us-east-1"


@dataclass
class S3Server:
    """A running server and the credentials that it accepts."""

    process: subprocess.Popen[str]
    endpoint: str
    environment: dict[str, str] = field(default_factory=dict)

    @classmethod
    def start(cls, timeout_s: float = 60.0) -> S3Server:
        """Start moto on a free loopback port, create a user, and switch signature checks on."""
        process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("s3_app.py"))],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stderr is not None
        deadline = time.monotonic() + timeout_s
        endpoint = None
        while endpoint is None:
            line = process.stderr.readline()
            found = re.search(r"Running on (http://127\.0\.0\.1:\d+)", line)
            endpoint = found.group(1) if found else None
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("moto did not start")
        # the server logs each request: somebody must read, or its pipe fills and it stops
        threading.Thread(target=process.stderr.read, daemon=True).start()
        server = cls(process, endpoint)
        server._create_user()
        return server

    def _create_user(self) -> None:
        anyone = {
            "endpoint_url": self.endpoint,
            "region_name": REGION,
            "aws_access_key_id": "setup",
            "aws_secret_access_key": "setup",
        }
        iam = boto3.client("iam", **anyone)
        iam.create_user(UserName="volseg")
        key = iam.create_access_key(UserName="volseg")["AccessKey"]
        allow = {"Effect": "Allow", "Action": ["s3:*"], "Resource": "*"}
        iam.put_user_policy(
            UserName="volseg",
            PolicyName="s3",
            PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [allow]}),
        )
        request = urllib.request.Request(
            f"{self.endpoint}/moto-api/reset-auth",
            data=b"0",  # no unsigned request from here on
            headers={"Content-Type": "text/plain"},
        )
        with urllib.request.urlopen(request) as answer:
            assert answer.status == 200
        self.environment = {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": key["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"],
            "AWS_DEFAULT_REGION": REGION,
            "AWS_REGION": REGION,
        }

    def make_bucket(self, name: str) -> str:
        """Create a bucket and return its name."""
        boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name=REGION,
            aws_access_key_id=self.environment["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.environment["AWS_SECRET_ACCESS_KEY"],
        ).create_bucket(Bucket=name)
        return name

    def stop(self) -> None:
        """End the server's process."""
        self.process.terminate()
        self.process.wait(timeout=20)
