"""Breaks the run as the fault script says; each fault on a thread of its own.

Targets are looked up when a fault strikes, from the processes that live then:
a rank may have moved to another node. A rank that does not live at that
moment (the run is being recovered) is waited for, at most ten seconds.
"""

import dataclasses
import os
import random
import signal
import threading
import time

from quickstart.fault_script import IN_TRAINING

_RANK_WAIT_SECONDS = 10.0
_ENDS_AN_ATTEMPT = ("kill_rank", "stop_rank", "kill_node", "pause_node")
_DUTY_SECONDS = 0.1  # Period of slow_rank's stopping and going.


class Missed(Exception):
    """The fault could not strike; says why."""


@dataclasses.dataclass
class Strike:
    """What became of a fault."""

    fault: object
    text: str = ""
    struck_unix: float = 0.0  # First time; 0 not yet.
    times: int = 0
    step: int = -1
    error: str = ""


class Injector:
    def __init__(self, faults, cluster, clock, run, ranks, directories, say,
                 seed=1):
        """`directories`: {"checkpoints": ..., "faults": ...}; `say(text)`."""
        self.cluster = cluster
        self.clock = clock
        self.run = run
        self.ranks = ranks
        self.checkpoints = directories["checkpoints"]
        self.fault_files = directories["faults"]
        self.say = say
        self.seed = seed
        self.strikes = [Strike(fault) for fault in faults]
        self._threads = []
        self._armed = {}  # Number of a fault -> its file and rank.
        self._disk_lock = threading.Lock()
        self._launched = 0.0

    def arm(self):
        """Before the launch: what the training code does by itself."""
        os.makedirs(self.fault_files, exist_ok=True)
        for strike in self.strikes:
            fault = strike.fault
            if self._is_in_training(fault) and fault.at_step is not None:
                rank, path = self._put_fault_file(fault, fault.at_step)
                self._armed[fault.number] = path, rank

    def start(self):
        """At the launch: at_seconds counts from here."""
        self._launched = time.monotonic()
        for strike in self.strikes:
            thread = threading.Thread(
                target=self._play, args=(strike,), daemon=True,
                name="fault-%d" % strike.fault.number,
            )
            self._threads.append(thread)
            thread.start()

    def join(self, seconds=15.0):
        """After clock.stop(): faults under way undo what they hold."""
        deadline = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def waiting(self):
        return [strike for strike in self.strikes if not strike.times]

    # --- When.

    def _play(self, strike):
        fault = strike.fault
        try:
            if fault.number in self._armed:
                self._play_armed(strike)
                return
            if fault.at_seconds is not None:
                wait = self._launched + fault.at_seconds - time.monotonic()
                if self.clock.sleep(max(0.0, wait) + fault.delay):
                    self._strike(strike)
                return
            attempt = self.clock.wait(fault.at_step)
            for _ in range(self._times_before(fault)):
                attempt = attempt and self.clock.wait(
                    fault.at_step, max(1, attempt)
                )
            while attempt:
                if not self.clock.sleep(fault.delay):
                    return
                self._strike(strike)
                if not fault.repeat:
                    return
                attempt = self.clock.wait(fault.at_step, max(1, attempt))
        except Exception as error:  # A thread's end must not be silent.
            strike.error = repr(error)
            self.say("fault %s failed: %r" % (fault.describe(), error))

    def _times_before(self, fault):
        """Equal faults before this one in the script.

        Written several times, what ends an attempt strikes in as many of
        them, each time the step is reached: at once it would be one fault.
        """
        if fault.kind not in _ENDS_AN_ATTEMPT:
            return 0
        return sum(
            other.fault.number < fault.number
            and dataclasses.replace(other.fault, number=fault.number) == fault
            for other in self.strikes
        )

    def _strike(self, strike):
        fault = strike.fault
        strike.step = self.clock.step
        try:
            self._ACTIONS[fault.kind](self, strike)
        except Missed as error:
            strike.error = str(error)
            self.say("fault %s did not strike: %s" % (fault.describe(), error))

    def _struck(self, strike, text):
        strike.times += 1
        strike.text = text
        strike.struck_unix = strike.struck_unix or time.time()
        self.say("fault #%d %s: %s (step %d)" % (
            strike.fault.number, strike.fault.kind, text, self.clock.step))

    # --- Whom.

    def _choose(self, fault, count):
        """The seed's choice; the same fault always strikes the same."""
        return random.Random(self.seed * 10007 + fault.number).randrange(count)

    def _target_rank(self, fault):
        """A living rank: the one named, or one of the node named."""
        wanted = fault.rank
        node = None if fault.node is None else self._node_name(fault.node)
        if wanted is None and node is None:
            wanted = self._choose(fault, self.ranks)
        if wanted is not None and wanted >= self.ranks:
            raise Missed("rank %d of a run of %d" % (wanted, self.ranks))
        deadline = time.monotonic() + _RANK_WAIT_SECONDS
        while True:
            ranks = self.cluster.table.ranks()
            for rank, process in sorted(ranks.items()):
                if rank == wanted or (
                    wanted is None and process.node == node
                ):
                    return process
            if time.monotonic() > deadline or not self.clock.sleep(0.05):
                raise Missed(
                    "no such rank lived for %g s" % _RANK_WAIT_SECONDS
                )

    def _node_name(self, node):
        """The agent meant by 1, "1", "node-1", "node1" or "node_1"."""
        text = str(node)
        digits = text.lower().removeprefix("node").lstrip("-_ ")
        for name in (text, "node-" + digits):
            if name in self.cluster.agents:
                return name
        raise Missed(
            "no node '%s': there are %s"
            % (node, ", ".join(self.cluster.agents))
        )

    def _target_node(self, fault):
        """The node named, else that of the rank named or chosen."""
        if fault.node is not None:
            return self._node_name(fault.node)
        return self._target_rank(fault).node

    # --- What.

    def _kill_rank(self, strike):
        process = self._target_rank(strike.fault)
        process.send(signal.SIGKILL)
        self._struck(strike, "SIGKILL to rank %d, process %d on %s" % (
            process.rank, process.pid, process.node))

    def _stop_rank(self, strike):
        process = self._target_rank(strike.fault)
        process.send(signal.SIGSTOP)
        self._struck(strike, "SIGSTOP to rank %d, process %d on %s" % (
            process.rank, process.pid, process.node))
        if strike.fault.seconds is not None:
            self.clock.sleep(strike.fault.seconds)
            process.send(signal.SIGCONT)

    def _slow_rank(self, strike):
        fault = strike.fault
        process = self._target_rank(fault)
        self._struck(strike, "rank %d on %s %gx slower for %g s" % (
            process.rank, process.node, fault.factor, fault.duration()))
        ends = time.monotonic() + fault.duration()
        run_seconds = _DUTY_SECONDS / fault.factor
        while time.monotonic() < ends:
            if not process.send(signal.SIGSTOP):
                return
            is_going_on = self.clock.sleep(_DUTY_SECONDS - run_seconds)
            process.send(signal.SIGCONT)
            if not is_going_on or not self.clock.sleep(run_seconds):
                return

    @staticmethod
    def _is_in_training(fault):
        return fault.kind in IN_TRAINING

    def _put_fault_file(self, fault, step):
        rank = fault.rank
        if rank is None and fault.node is not None and step == 0:
            rank = self._target_rank(fault).rank
        if rank is None:
            rank = self._choose(fault, self.ranks)
        name = "%s.rank%d.step%d.%s" % (
            fault.kind, rank, step,
            "repeat" if fault.repeat else fault.number)
        with open(os.path.join(self.fault_files, name), "w"):
            pass
        return rank, os.path.join(self.fault_files, name)

    def _in_training(self, strike):
        """At some moment, not at a step: the order is a file made now."""
        rank, path = self._put_fault_file(strike.fault, 0)
        self._await_done(strike, path, rank)

    def _await_done(self, strike, path, rank):
        """The training code renames the file before it does the fault."""
        while not os.path.exists(path + ".done"):
            if not self.clock.sleep(0.02):
                return
        self._struck(strike, "in the training code of rank %d" % rank)

    def _play_armed(self, strike):
        """A fault at a step of the training code: it was armed before."""
        fault = strike.fault
        if not fault.repeat:
            self._await_done(strike, *self._armed[fault.number])
            return
        # Never renamed: it is done whenever the step before is reached.
        attempt = self.clock.wait(fault.at_step - 1)
        while attempt:
            self._struck(strike, "in the training code of rank %d, each time"
                         % self._armed[fault.number][1])
            attempt = self.clock.wait(fault.at_step - 1, max(1, attempt))

    def _kill_agent(self, strike):
        name = self._target_node(strike.fault)
        agent = self.cluster.agents[name]
        pid = agent.pid
        agent.kill(strike.fault.duration())
        self._struck(strike, "SIGKILL to the agent of %s, process %d"
                     % (name, pid))

    def _kill_node(self, strike):
        fault = strike.fault
        name = self._target_node(fault)
        down = None if fault.permanent else fault.duration()
        # The agent first: a dead node reports nothing.
        self.cluster.agents[name].kill(down)
        self.cluster.table.kill_all(lambda process: process.node == name)
        self._struck(strike, "SIGKILL to everything on %s; %s" % (
            name,
            "it never comes back" if down is None
            else "it boots again after %g s" % down))

    def _pause_node(self, strike):
        fault = strike.fault
        name = self._target_node(fault)
        paused = {}
        # Twice: a process may have been made in between.
        for _ in range(2):
            for process in self.cluster.table.of_node(name):
                if process.send(signal.SIGSTOP):
                    paused[process.pid] = process
        self._struck(strike, "SIGSTOP to %d processes of %s for %g s" % (
            len(paused), name, fault.duration()))
        self.clock.sleep(fault.duration())
        for process in paused.values():
            process.send(signal.SIGCONT)
        self.say("fault #%d pause_node: %s wakes up" % (fault.number, name))

    def _kill_server(self, strike):
        server = self.cluster.server
        pid = server.pid
        server.kill(strike.fault.duration())
        self._struck(strike, "SIGKILL to the server, process %d, for %g s"
                     % (pid, strike.fault.duration()))

    def _cut_agent(self, strike):
        fault = strike.fault
        name = self._target_node(fault)
        proxy = self.cluster.proxies[name]
        proxy.cut()
        self._struck(strike, "no network for the agent of %s for %g s"
                     % (name, fault.duration()))
        self.clock.sleep(fault.duration())
        proxy.heal()
        self.say("fault #%d cut_agent: %s is connected again"
                 % (fault.number, name))

    def _corrupt_checkpoint(self, strike):
        deadline = time.monotonic() + _RANK_WAIT_SECONDS
        while not (found := self.newest_checkpoint()):
            if time.monotonic() > deadline or not self.clock.sleep(0.05):
                raise Missed("no complete checkpoint on disk")
        rank = strike.fault.rank
        if rank is None:
            rank = self._choose(strike.fault, self.ranks)
        if rank not in found:
            raise Missed("rank %d of a run of %d" % (rank, self.ranks))
        path = found[rank]
        size = os.path.getsize(path)
        with open(path, "r+b") as file:
            file.seek(size // 2)
            data = file.read(16)
            file.seek(size // 2)
            file.write(bytes(byte ^ 0xFF for byte in data))
        self._struck(strike, "%d bytes changed in %s" % (len(data), path))

    def newest_checkpoint(self):
        """{rank: file} of the newest step that all ranks have saved."""
        newest = (-1, {})
        for attempt in _folders(self.checkpoints):
            for step in _folders(attempt):
                number = int("".join(filter(str.isdigit,
                                            os.path.basename(step))) or -1)
                files = {
                    rank: os.path.join(step, "rank-%d.pt" % rank)
                    for rank in range(self.ranks)
                }
                if number > newest[0] and all(
                    os.path.exists(path) for path in files.values()
                ):
                    newest = (number, files)
        return newest[1]

    def _fill_disk(self, strike):
        if not self.cluster.is_mounted:
            raise Missed("there is no small disk")
        path = os.path.join(
            self.cluster.disk, "filler-%d" % strike.fault.number
        )
        with self._disk_lock:
            written = _fill(path)
        self._struck(strike, "the disk of database and spools is full"
                     " (%.1f MB written) for %g s"
                     % (written / 1e6, strike.fault.duration()))
        # What is freed meanwhile is taken too.
        ends = time.monotonic() + strike.fault.duration()
        while time.monotonic() < ends and self.clock.sleep(0.2):
            with self._disk_lock:
                _fill(path)
        os.unlink(path)
        self.say("fault #%d fill_disk: the disk has space again"
                 % strike.fault.number)

    _ACTIONS = {
        "kill_rank": _kill_rank,
        "stop_rank": _stop_rank,
        "slow_rank": _slow_rank,
        "exit_rank": _in_training,
        "nan_loss": _in_training,
        "spin_rank": _in_training,
        "kill_agent": _kill_agent,
        "kill_node": _kill_node,
        "pause_node": _pause_node,
        "kill_server": _kill_server,
        "cut_agent": _cut_agent,
        "corrupt_checkpoint": _corrupt_checkpoint,
        "fill_disk": _fill_disk,
    }


def _folders(path):
    try:
        names = sorted(os.listdir(path))
    except OSError:
        return []
    return [
        os.path.join(path, name)
        for name in names
        if os.path.isdir(os.path.join(path, name))
    ]


def _fill(path):
    """Appends until the disk takes no more; bytes written."""
    written = 0
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        chunk = 1 << 20
        while chunk >= 512:
            try:
                written += os.write(descriptor, b"\0" * chunk)
            except OSError:
                chunk //= 2
    finally:
        os.close(descriptor)
    return written
