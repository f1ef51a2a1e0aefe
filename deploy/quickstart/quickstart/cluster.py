"""One server and some agents on this machine, each agent a node of its own."""

import os
import secrets
import shutil
import subprocess
import time

from quickstart import processes
from quickstart.ports import preferred
from quickstart.proxy import Proxy
from quickstart.service import Service

PROGRAMS = ("steadyrun-server", "steadyrun-agent", "steadyrun-shim",
            "steadyrun")
DISK_BYTES = 48 << 20


class ClusterError(Exception):
    """It could not be brought up; the message says what failed."""


class Cluster:
    """Use as a context: on leaving, every process it started is gone."""

    def __init__(self, bin_dir, work_dir, nodes, small_disk=False,
                 port_base=7070, server_environment=None, server_arguments=()):
        self.bin_dir = bin_dir
        self.work_dir = work_dir
        self.token = secrets.token_hex(8)
        self.table = processes.ProcessTable(self.token)
        self.grpc_port = preferred(port_base)
        self.http_port = preferred(port_base + 10)
        self.small_disk = small_disk
        self.disk = os.path.join(work_dir, "disk")
        # Memory, as agents use by default, but of this cluster alone.
        self.recorders = "/dev/shm/steadyrun-quickstart-%s" % self.token
        self.is_mounted = False
        self.proxies = {}
        self.agents = {}
        self._check_programs()
        os.makedirs(os.path.join(work_dir, "log"), exist_ok=True)
        os.makedirs(os.path.join(self.disk), exist_ok=True)
        self.server = self._make_server(server_arguments)
        self.server.first_environment = dict(server_environment or {})
        for index in range(nodes):
            name = "node-%d" % index
            self.proxies[name] = Proxy(self.grpc_port)
            self.agents[name] = self._make_agent(name)

    def _check_programs(self):
        for program in PROGRAMS:
            path = os.path.join(self.bin_dir, program)
            if not os.access(path, os.X_OK):
                raise ClusterError(
                    "%s is not there: build it with 'cmake --preset release"
                    " && cmake --build --preset release'" % path
                )

    def program(self, name):
        return os.path.join(self.bin_dir, name)

    def _environment(self, node=""):
        return {processes.MARKER: self.token, processes.NODE: node}

    def _make_server(self, arguments):
        data = os.path.join(self.disk, "server")
        return Service(
            "server",
            [
                self.program("steadyrun-server"),
                "--grpc-address", "127.0.0.1:%d" % self.grpc_port,
                "--http-address", "127.0.0.1:%d" % self.http_port,
                "--data-dir", data,
                *arguments,
            ],
            self._environment(),
            os.path.join(self.work_dir, "log", "server.log"),
        )

    def _make_agent(self, name):
        state = os.path.join(self.work_dir, name)
        spool = os.path.join(self.disk, name)
        return Service(
            name,
            [
                self.program("steadyrun-agent"),
                "--node", name,
                "--server", "127.0.0.1:%d" % self.proxies[name].port,
                "--address", "127.0.0.1",
                "--state-dir", state,
                "--spool", os.path.join(spool, "spool.db"),
                "--recorder-dir", self.recorders,
            ],
            self._environment(name),
            os.path.join(self.work_dir, "log", name + ".log"),
        )

    # --- Life.

    def __enter__(self):
        try:
            if self.small_disk:
                self._mount()
            os.makedirs(os.path.join(self.disk, "server"), exist_ok=True)
            self.server.start()
            for name, agent in self.agents.items():
                os.makedirs(os.path.join(self.disk, name), exist_ok=True)
                agent.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *error):
        self.close()

    def close(self):
        """Ends everything it started; safe to call twice."""
        for agent in self.agents.values():
            agent.stop()
        self.server.stop()
        self.table.kill_all()
        for proxy in self.proxies.values():
            proxy.stop()
        self.proxies.clear()
        shutil.rmtree(self.recorders, ignore_errors=True)
        if self.is_mounted:
            self._unmount()

    def tend(self):
        """Starts again what has ended; the services that were started."""
        return [
            service
            for service in (self.server, *self.agents.values())
            if service.tend()
        ]

    def wait_ready(self, is_ready, seconds=60):
        """Until is_ready() is true, tending the services meanwhile."""
        deadline = time.monotonic() + seconds
        while not is_ready():
            for service in (self.server, *self.agents.values()):
                if service.starts > 3:
                    raise ClusterError(
                        "%s ends again and again; its log ends with\n%s"
                        % (service.name, service.last_log())
                    )
            if time.monotonic() > deadline:
                raise ClusterError(
                    "not all agents were connected after %d s; the server's"
                    " log ends with\n%s" % (seconds, self.server.last_log())
                )
            self.tend()
            time.sleep(0.05)

    # --- A small disk of their own for the database and the spools.

    def _mount(self):
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=%d" % DISK_BYTES,
             "steadyrun-quickstart", self.disk],
            capture_output=True, text=True,
        )
        if done.returncode:
            raise ClusterError(
                "fill_disk needs a small disk that root may mount: %s"
                % done.stderr.strip()
            )
        self.is_mounted = True

    def _unmount(self):
        """Keeps what is on the small disk beside it, then removes it."""
        kept = os.path.join(self.work_dir, "disk-kept")
        shutil.rmtree(kept, ignore_errors=True)
        try:
            shutil.copytree(self.disk, kept)
        except (OSError, shutil.Error):
            pass  # What could be copied is there.
        subprocess.run(["umount", self.disk], check=False,
                       stderr=subprocess.DEVNULL)
        self.is_mounted = os.path.ismount(self.disk)
        if self.is_mounted:
            subprocess.run(["umount", "-l", self.disk], check=False)
