"""The memory-mapped file between this process and the agent.

One writer (this process), one reader (the agent), no lock, no system call:
a slot is filled, its `seq` stored, then the counter. Stores of 8 aligned
bytes through a cast memoryview are single stores.
"""

import mmap
import os
import platform
import threading

from steadyrun import _layout as layout

_W = {
    name: (layout.WRITER_OFFSET + offset)
    for name, offset in layout.WRITER_FIELDS.items()
}
# Index in the 8-byte view of a field at that byte offset.
STEPS_WRITTEN = _W["steps_written"] // 8
EVENTS_WRITTEN = _W["events_written"] // 8
STEP = _W["step"] // 8
PROGRESS_MONO_NS = _W["progress_mono_ns"] // 8
PHASE_MONO_NS = _W["phase_mono_ns"] // 8
PHASE_SEQ = _W["phase_seq"] // 8
COMMAND_ACK_SEQ = _W["command_ack_seq"] // 8
ERRORS = _W["errors"] // 8
COMMAND_SEQ = layout.COMMAND_OFFSET // 8
COMMAND_STEP = (layout.COMMAND_OFFSET + layout.COMMAND_FIELDS["step"]) // 8
# Index in the 4-byte view.
PHASE = _W["phase"] // 4
PID = _W["pid"] // 4
NAMES_USED = _W["names_used"] // 4
FINISHED = _W["finished"] // 4
COMMAND_ACTION = (layout.COMMAND_OFFSET + layout.COMMAND_FIELDS["action"]) // 4

_NAME_ALPHABET = frozenset(
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./-"
)


class RecorderError(Exception):
    """The file is not what this library can write; says why."""


def _make_barrier():
    """Orders earlier stores before later ones.

    x86 does so by itself. Elsewhere (arm64) two rounds through a lock do: the
    release of the first and the acquire of the second fence both ways.
    """
    if platform.machine().lower() in ("x86_64", "amd64", "i386", "i686"):
        return None
    lock = threading.Lock()

    def barrier():
        lock.acquire()
        lock.release()
        lock.acquire()
        lock.release()

    return barrier


class Recorder:
    """The mapped file. Words by index: `words` (u64), `signed`, `halves`."""

    def __init__(self, path):
        """Opens and checks the file; RecorderError or OSError if unfit."""
        with open(path, "r+b") as file:
            size = os.fstat(file.fileno()).st_size
            if size < layout.STEPS_OFFSET + layout.STEP_BYTES:
                raise RecorderError(
                    "%s: %d bytes are too few for a flight recorder"
                    % (path, size)
                )
            self.map = mmap.mmap(file.fileno(), size)
        header = layout.HEADER.unpack_from(self.map, 0)
        if header[0] != layout.MAGIC or header[1] != layout.VERSION:
            raise RecorderError(
                "%s: magic %#x version %d, expected %#x version %d: agent and"
                " library are of different releases"
                % (path, header[0], header[1], layout.MAGIC, layout.VERSION)
            )
        self.step_count = header[2]
        self.attempt = header[3]
        self.rank = header[5]
        self.local_rank = header[6]
        self.world_size = header[7]
        self.run = header[9].split(b"\0", 1)[0].decode("ascii", "replace")
        needed = layout.STEPS_OFFSET + self.step_count * layout.STEP_BYTES
        if self.step_count < 1 or size < needed:
            raise RecorderError(
                "%s: %d bytes, expected %d for %d step records"
                % (path, size, needed, self.step_count)
            )
        view = memoryview(self.map)
        # Whole words only; the file's length is a multiple of 8 by layout.
        view = view[: needed]
        self.words = view.cast("Q")
        self.signed = view.cast("q")
        self.halves = view.cast("I")
        self.barrier = _make_barrier()
        self._names = {}
        self._load_names()

    def _load_names(self):
        used = min(self.halves[NAMES_USED], layout.NAME_COUNT)
        for index in range(used):
            at = layout.NAMES_OFFSET + index * layout.NAME_BYTES
            raw = bytes(self.map[at : at + layout.NAME_BYTES])
            self._names[raw.split(b"\0", 1)[0].decode("ascii", "replace")] = (
                index
            )

    def name_index(self, name):
        """The name's index in the table; None if it cannot be entered."""
        index = self._names.get(name)
        if index is not None:
            return index
        index = len(self._names)
        if index >= layout.NAME_COUNT:
            return None
        # One byte stays zero, so that C readers find an end.
        if not 0 < len(name) < layout.NAME_BYTES:
            return None
        if not _NAME_ALPHABET.issuperset(name):
            return None
        at = layout.NAMES_OFFSET + index * layout.NAME_BYTES
        self.map[at : at + layout.NAME_BYTES] = name.encode("ascii").ljust(
            layout.NAME_BYTES, b"\0"
        )
        if self.barrier:
            self.barrier()
        self.halves[NAMES_USED] = index + 1
        self._names[name] = index
        return index

    def write_event(self, kind, shards, step, unix_ns, seconds, text):
        """Publishes an event; False if its text does not fit."""
        data = text.encode("utf-8", "surrogateescape")
        if len(data) > layout.EVENT_TEXT_BYTES:
            return False
        number = self.words[EVENTS_WRITTEN]
        at = (
            layout.EVENTS_OFFSET
            + number % layout.EVENT_COUNT * layout.EVENT_BYTES
        )
        # A reader must not take the half-written slot for the old one.
        self.words[at // 8] = 0
        if self.barrier:
            self.barrier()
        layout.EVENT_BODY.pack_into(
            self.map, at + 8, kind, shards, step, unix_ns, seconds, len(data)
        )
        text_at = at + layout.EVENT_FIELDS["text"]
        self.map[text_at : text_at + len(data)] = data
        if self.barrier:
            self.barrier()
        self.words[at // 8] = number + 1
        if self.barrier:
            self.barrier()
        self.words[EVENTS_WRITTEN] = number + 1
        return True
