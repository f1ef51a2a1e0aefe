"""Which processes belong to this quickstart, from /proc alone.

Everything it starts carries QUICKSTART_TOKEN=<token> in its environment and
hands it on (agents keep STEADYRUN_* from their ranks), so shims and ranks are
found whoever their parent is, also while their agent is dead.
"""

import mmap
import os
import signal
import struct

from steadyrun import _layout as layout

MARKER = "QUICKSTART_TOKEN"
NODE = "QUICKSTART_NODE"
_SHIM = "steadyrun-shim"


class Process:
    """One process of ours, as its environment tells."""

    def __init__(self, pid, start_ticks, environment, program):
        self.pid = pid
        self.start_ticks = start_ticks
        self.program = program
        self.node = environment.get(NODE, "")
        self.recorder_path = environment.get("STEADYRUN_RECORDER", "")
        self.run = environment.get("STEADYRUN_RUN_ID", "")
        self.attempt = _number(environment.get("STEADYRUN_ATTEMPT"))
        self.rank = _number(environment.get("RANK"))
        self.resume_step = _number(environment.get("STEADYRUN_RESUME_STEP"))

    @property
    def is_rank(self):
        return bool(self.recorder_path) and not self.program.startswith(_SHIM)

    def send(self, number):
        """Signals it if it is still the same process; False if it is gone."""
        if _start_ticks(self.pid) != self.start_ticks:
            return False
        try:
            os.kill(self.pid, number)
            return True
        except ProcessLookupError:
            return False


def _number(text):
    try:
        return int(text)
    except (TypeError, ValueError):
        return -1


def _stat(pid):
    """(state letter, start time) or None; the name may hold anything."""
    try:
        with open("/proc/%d/stat" % pid, "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        return fields[0].decode(), int(fields[19])
    except (OSError, IndexError, ValueError):
        return None


def _start_ticks(pid):
    stat = _stat(pid)
    return stat[1] if stat and stat[0] not in "ZX" else None


def _image(pid):
    """Where the environment lies in memory: another after each exec."""
    try:
        with open("/proc/%d/stat" % pid, "rb") as file:
            return file.read().rpartition(b")")[2].split()[47]
    except (OSError, IndexError):
        return None


def is_alive(pid):
    return _start_ticks(pid) is not None


class ProcessTable:
    """Our processes; environments are read once per process and program."""

    def __init__(self, token):
        self.wanted = ("%s=%s" % (MARKER, token)).encode()
        # pid -> (start, program link, image, Process or None)
        self._known = {}

    def scan(self):
        """All living processes of ours."""
        found = []
        known = {}
        for name in os.listdir("/proc"):
            if not name.isdigit():
                continue
            pid = int(name)
            start = _start_ticks(pid)
            if start is None:
                continue
            try:
                program = os.readlink("/proc/%d/exe" % pid)
            except OSError:
                continue  # A kernel thread, or gone.
            before = self._known.get(pid)
            # A fork has its parent's program and environment until it executes
            # its own, which may be the same program.
            image = _image(pid)
            if before and before[:3] == (start, program, image):
                process = before[3]
            else:
                process = self._read(pid, start, program)
            known[pid] = (start, program, image, process)
            if process:
                found.append(process)
        self._known = known
        return found

    def _read(self, pid, start, program):
        try:
            with open("/proc/%d/environ" % pid, "rb") as file:
                entries = file.read().split(b"\0")
        except OSError:
            return None
        if self.wanted not in entries:
            return None
        environment = {}
        for entry in entries:
            key, _, value = entry.decode("utf-8", "replace").partition("=")
            environment[key] = value
        return Process(pid, start, environment, os.path.basename(program))

    def of_node(self, node):
        return [process for process in self.scan() if process.node == node]

    def ranks(self):
        """The ranks of the newest attempt, by rank."""
        ranks = [process for process in self.scan() if process.is_rank]
        newest = max((process.attempt for process in ranks), default=0)
        return {
            process.rank: process
            for process in ranks
            if process.attempt == newest
        }

    def kill_all(self, wanted=lambda process: True):
        """SIGKILL until none is left; at most some rounds."""
        for _ in range(20):
            victims = [process for process in self.scan() if wanted(process)]
            if not victims:
                return True
            for process in victims:
                process.send(signal.SIGKILL)
        return False


class StepWatch:
    """Reads steps out of the ranks' flight recorders, as fast as asked.

    The injector looks here and not at the service, so that faults strike at
    their step also while the service is down.
    """

    def __init__(self):
        self._maps = {}  # recorder path -> mmap

    def step_of(self, process):
        """Last completed step of a rank; -1 if unknown."""
        found = self._maps.get(process.recorder_path)
        if found is None:
            try:
                with open(process.recorder_path, "rb") as file:
                    found = mmap.mmap(
                        file.fileno(), layout.STEPS_OFFSET,
                        access=mmap.ACCESS_READ,
                    )
            except (OSError, ValueError):
                return -1
            self._maps[process.recorder_path] = found
        step, = struct.unpack_from(
            "<q", found,
            layout.WRITER_OFFSET + layout.WRITER_FIELDS["step"],
        )
        writer, = struct.unpack_from(
            "<I", found, layout.WRITER_OFFSET + layout.WRITER_FIELDS["pid"],
        )
        return step if writer else -1

    def keep_only(self, processes):
        wanted = {process.recorder_path for process in processes}
        for path in set(self._maps) - wanted:
            self._maps.pop(path).close()
