"""A daemon that is started again when it ends, as systemd would do."""

import os
import signal
import subprocess
import time

RESTART_SECONDS = 0.5
STOP_SECONDS = 10


class Service:
    """One server or agent process. Owned by the driver's main thread, except
    kill() and hold(), which any thread may call."""

    def __init__(self, name, command, environment, log_path):
        self.name = name
        self.command = command
        self.environment = environment
        # Of the first start only: for failpoints in tests.
        self.first_environment = {}
        self.log_path = log_path
        self.process = None
        self.starts = 0
        self.own_ends = []  # Exit codes of ends that nobody ordered.
        self._is_killed = False
        self.why_started = ""  # After an end that nobody ordered.
        self.start_at = 0.0  # Not before this moment; monotonic.
        self._held_until = 0.0
        self.is_wanted = False

    @property
    def pid(self):
        return self.process.pid if self.process else 0

    def is_running(self):
        return self.process is not None and self.process.poll() is None

    def start(self):
        environment = dict(os.environ, **self.environment)
        if self.starts == 0:
            environment.update(self.first_environment)
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                self.command, env=environment, stdin=subprocess.DEVNULL,
                stdout=log, stderr=log,
                # A Ctrl-C of the terminal is for the driver alone.
                start_new_session=True,
            )
        self.starts += 1
        self.is_wanted = True
        self._is_killed = False

    def kill(self, down_seconds):
        """SIGKILL; it comes back after so many seconds, None: never."""
        self.hold(down_seconds)
        self._is_killed = True
        if self.is_running():
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()

    def hold(self, seconds):
        """It is not started again before so many seconds have passed."""
        self._held_until = (
            float("inf") if seconds is None else time.monotonic() + seconds
        )

    def tend(self):
        """Starts it again if it has ended and may run; True if it did."""
        if not self.is_wanted or self.is_running():
            self.start_at = 0.0
            return False
        now = time.monotonic()
        if not self.start_at:
            self.why_started = ""
            if not self._is_killed:
                self.own_ends.append(self.process.poll())
                self.why_started = ": it ended by itself, code %s, see %s" % (
                    self.own_ends[-1], self.log_path)
            self.start_at = now + RESTART_SECONDS
            if self._held_until > now:
                self.start_at = self._held_until
        if now < max(self.start_at, self._held_until):
            return False
        self.start_at = 0.0
        self.start()
        return True

    def stop(self):
        """SIGTERM, then SIGKILL; returns when it is gone."""
        self.is_wanted = False
        if not self.is_running():
            return
        self.process.send_signal(signal.SIGTERM)
        self.process.send_signal(signal.SIGCONT)
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def last_log(self, lines=15):
        try:
            with open(self.log_path, "rb") as file:
                file.seek(max(0, os.path.getsize(self.log_path) - 8192))
                text = file.read().decode("utf-8", "replace")
        except OSError:
            return ""
        return "\n".join(text.splitlines()[-lines:])
