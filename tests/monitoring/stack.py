"""A server, an agent and a run, and real receivers of what they say.

All on free loopback ports; all that is started here is ended here.
"""

import http.server
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(
    os.environ.get("STEADYRUN_BIN", ROOT / "build" / "release" / "bin")
)
SERVING = re.compile(r"serving grpc=(\S+:\d+) http=(\S+:\d+)")


def wait_for(what, is_true, seconds=40):
    """Asks is_true() until it gives something; gives that."""
    deadline = time.monotonic() + seconds
    while True:
        found = is_true()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError("not after %d s: %s" % (seconds, what))
        time.sleep(0.05)


def get(url, timeout=5):
    with urllib.request.urlopen(url, timeout=timeout) as reply:
        return reply.read().decode()


def get_json(url):
    try:
        return json.loads(get(url))
    except (OSError, ValueError):
        return None


class Receiver:
    """Keeps what is posted to it, by path; `refuse` answers 503."""

    def __init__(self):
        self.requests = []
        self.refuse = False
        owner = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                size = int(self.headers.get("content-length", 0))
                body = self.rfile.read(size)
                if not owner.refuse:
                    owner.requests.append(
                        (self.path, dict(self.headers), body)
                    )
                self.send_response(503 if owner.refuse else 200)
                self.end_headers()

            def do_GET(self):
                owner.requests.append((self.path, dict(self.headers), b""))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_):
                pass

        self._server = http.server.ThreadingHTTPServer(
            ("127.0.0.1", 0), Handler
        )
        self.url = "http://127.0.0.1:%d" % self._server.server_port
        threading.Thread(
            target=self._server.serve_forever, daemon=True
        ).start()

    def bodies(self, path):
        return [
            json.loads(body) for where, _, body in list(self.requests)
            if where == path
        ]

    def close(self):
        self._server.shutdown()
        self._server.server_close()


class Stack:
    def __init__(self):
        self.work = pathlib.Path(tempfile.mkdtemp(prefix="steadyrun-mon-"))
        self.processes = []
        self.receiver = Receiver()
        self.grpc = self.http = ""
        self.server = None

    def close(self):
        for process in reversed(self.processes):
            if process.poll() is None:
                process.terminate()
        for process in self.processes:
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.receiver.close()
        self._end_ranks()
        shutil.rmtree(self.work, ignore_errors=True)

    # Agents leave their ranks alive on purpose; these carry our directory.
    def _end_ranks(self):
        mark = str(self.work).encode()
        for entry in pathlib.Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                if mark in (entry / "cmdline").read_bytes():
                    os.kill(int(entry.name), signal.SIGKILL)
            except OSError:
                continue

    def start(self, *words, log):
        with open(self.work / log, "ab") as file:
            process = subprocess.Popen(
                [str(word) for word in words], stdout=file, stderr=file,
                stdin=subprocess.DEVNULL,
            )
        self.processes.append(process)
        return process

    def log(self, name):
        path = self.work / name
        return path.read_text(errors="replace") if path.exists() else ""

    def start_server(self, config, grpc="127.0.0.1:0"):
        (self.work / "server.toml").write_text(config)
        before = len(self.log("server.log"))
        self.server = self.start(
            BIN / "steadyrun-server", "--config", self.work / "server.toml",
            "--grpc-address", grpc, "--http-address", "127.0.0.1:0",
            "--data-dir", self.work / "data", log="server.log",
        )
        serving = wait_for(
            "a server that serves",
            lambda: SERVING.search(self.log("server.log")[before:]),
        )
        self.grpc = serving.group(1)
        self.http = "http://" + serving.group(2)

    def start_agent(self, node="node-0"):
        return self.start(
            BIN / "steadyrun-agent", "--node", node, "--server",
            self.grpc, "--address", "127.0.0.1", "--state-dir",
            self.work / node, "--recorder-dir", self.work / "recorders",
            "--metrics-listen", "127.0.0.1:0", log="agent.log",
        )

    def cli(self, *words):
        done = subprocess.run(
            [str(BIN / "steadyrun"), "--server", self.grpc,
             *[str(word) for word in words]],
            capture_output=True, text=True, timeout=30,
        )
        if done.returncode:
            raise AssertionError(done.stderr + done.stdout)
        return done.stdout

    def launch(self, run, python, *words):
        self.cli(
            "run", "--name", run, "--nodes", 1, "--ranks-per-node", 1,
            "--checkpoint-dir", self.work / "checkpoints" / run, *words, "--",
            python, ROOT / "tests" / "monitoring" / "trainer.py",
            ROOT / "agent" / "python", self.work,
        )

    def run_view(self, run):
        return get_json(self.http + "/api/v1/runs/" + run) or {}

    def kill_rank(self):
        mark = str(self.work).encode()
        for entry in pathlib.Path("/proc").iterdir():
            try:
                line = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            words = line.split(b"\0")
            if len(words) > 1 and words[1].endswith(b"trainer.py") and (
                    mark in line):
                os.kill(int(entry.name), signal.SIGKILL)
                return True
        return False
