"""Questions to the service, over its HTTP JSON and the CLI."""

import json
import os
import subprocess
import urllib.request


class ServiceClient:
    def __init__(self, cli, grpc_port, http_port):
        self.cli = cli
        self.grpc_address = "127.0.0.1:%d" % grpc_port
        self.page = "http://127.0.0.1:%d/" % http_port

    def get(self, path, timeout=2.0):
        """JSON of the HTTP port; None while the service does not answer.

        64-bit integers come as strings, as protobuf's JSON has them.
        """
        try:
            with urllib.request.urlopen(
                self.page + path, timeout=timeout
            ) as reply:
                return json.load(reply)
        except (OSError, ValueError):
            return None

    def run_view(self, run):
        return self.get("api/v1/runs/" + run)

    def command(self, *words, timeout=30.0):
        """Runs the CLI; CompletedProcess with text."""
        return subprocess.run(
            [self.cli, "--server", self.grpc_address, *words],
            capture_output=True, text=True, timeout=timeout,
            stdin=subprocess.DEVNULL,
            env={
                key: value
                for key, value in os.environ.items()
                if not key.startswith("STEADYRUN_")
            },
        )

    def query(self, *words):
        """JSON of a CLI command; None if it failed."""
        try:
            done = self.command(*words, "-o", "json")
        except (OSError, subprocess.TimeoutExpired):
            return None
        if done.returncode:
            return None
        try:
            return json.loads(done.stdout)
        except ValueError:
            return None

    def nodes_connected(self):
        """How many agents the service hears now."""
        nodes = self.get("api/v1/nodes")
        if nodes is None:
            return 0
        return sum(
            1
            for node in nodes.get("nodes", ())
            if node.get("status") == "connected"
        )
