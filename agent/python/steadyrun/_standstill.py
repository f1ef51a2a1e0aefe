"""Where this rank stands while it does not advance.

A thread of its own sleeps, and looks once a second whether the training code
has made a step or changed its phase. While it has not for some seconds, it
writes the stack of the training thread and how many collectives each process
group of torch.distributed has entered: of ranks that hang, these tell which
one did not come. While training advances it touches nothing.

A training thread that is stuck in C code with the interpreter's lock keeps
this thread waiting too: then nothing is told, which the others' words show.
"""

import os
import sys
import threading
import time
import zlib

from steadyrun import _layout as layout

# As agent/recorder/standstill.h has it: the agent tells no sooner.
STANDSTILL_NS = 3_000_000_000
# A look takes the interpreter's lock for some microseconds.
LOOK_SECONDS = 1.0
# After so many exceptions the thread ends: it is of no use here.
_MOST_ERRORS = 3

_AT = layout.STANDSTILL_OFFSET
_STACK_SEQ = (_AT + layout.STANDSTILL_FIELDS["stack_seq"]) // 8
_STACK_MONO_NS = (_AT + layout.STANDSTILL_FIELDS["stack_mono_ns"]) // 8
_FRAMES = (_AT + layout.STANDSTILL_FIELDS["frames"]) // 4
_GROUPS_USED = (_AT + layout.STANDSTILL_FIELDS["groups_used"]) // 4
_PROGRESS_MONO_NS = (
    layout.WRITER_OFFSET + layout.WRITER_FIELDS["progress_mono_ns"]
) // 8


class Standstill:
    """The part of the recorder that tells where the rank stands."""

    def __init__(self, recorder):
        self._recorder = recorder
        self._words = recorder.words
        self._groups = {}
        # The threads that enter names: the training's and the watcher's.
        self._lock = threading.Lock()
        recorder.halves[_GROUPS_USED] = 0
        self._words[_STACK_SEQ] = 0

    def entered_word(self, group):
        """Index in the 8-byte view of `entered`; None if it does not fit."""
        at = self._groups.get(group)
        return self._enter(group) if at is None else at

    def _enter(self, group):
        name = group.encode("ascii", "replace")
        if not 0 < len(name) < layout.GROUP_BYTES:
            return None
        with self._lock:
            if group in self._groups:
                return self._groups[group]
            index = len(self._groups)
            if index >= layout.GROUP_COUNT:
                return None
            at = (
                _AT
                + layout.STANDSTILL_FIELDS["positions"]
                + index * layout.POSITION_BYTES
            )
            self._words[at // 8] = 0
            self._words[at // 8 + 1] = 0
            name_at = at + layout.POSITION_FIELDS["group"]
            self._recorder.map[name_at : name_at + layout.GROUP_BYTES] = (
                name.ljust(layout.GROUP_BYTES, b"\0")
            )
            if self._recorder.barrier:
                self._recorder.barrier()
            self._recorder.halves[_GROUPS_USED] = index + 1
            self._groups[group] = at // 8
            return at // 8

    def set_position(self, group, entered, now):
        """`entered` collectives as of `now`, in nanoseconds."""
        at = self.entered_word(group)
        if at is not None:
            self._words[at] = entered
            self._words[at + 1] = now

    def set_stack(self, frames, now):
        """Lines of text, innermost frame first; what is too much is cut."""
        seq = self._words[_STACK_SEQ]
        self._words[_STACK_SEQ] = 0
        barrier = self._recorder.barrier
        if barrier:
            barrier()
        frames = frames[: layout.FRAME_COUNT]
        for number, frame in enumerate(frames):
            at = (
                _AT
                + layout.STANDSTILL_FIELDS["stack"]
                + number * layout.FRAME_BYTES
            )
            text = frame.encode("ascii", "replace")[: layout.FRAME_BYTES - 1]
            self._recorder.map[at : at + layout.FRAME_BYTES] = text.ljust(
                layout.FRAME_BYTES, b"\0"
            )
        self._recorder.halves[_FRAMES] = len(frames)
        self._words[_STACK_MONO_NS] = now
        if barrier:
            barrier()
        self._words[_STACK_SEQ] = seq + 1


def stack_of(thread_id):
    """["all_reduce (distributed_c10d.py:1541)", ...]; [] if it has ended."""
    lines = []
    frame = sys._current_frames().get(thread_id)
    while frame is not None and len(lines) < layout.FRAME_COUNT:
        code = frame.f_code
        lines.append(
            "%s (%s:%s)"
            % (code.co_name, os.path.basename(code.co_filename),
               frame.f_lineno)
        )
        frame = frame.f_back
    return lines


def group_name(name, ranks):
    """The same on all members: torch's own name, and the global ranks."""
    parts = []
    for rank in sorted(ranks):
        if parts and rank == parts[-1][1] + 1:
            parts[-1][1] = rank
        else:
            parts.append([rank, rank])
    text = "%s:%s" % (name, ",".join(
        "%d" % first if first == last else "%d-%d" % (first, last)
        for first, last in parts
    ))
    if len(text) < layout.GROUP_BYTES:
        return text
    # Too many parts for the table: their checksum tells them apart.
    return "%s:%d ranks %08x" % (
        name[:20], len(ranks), zlib.crc32(text.encode())
    )


def torch_positions():
    """(group, collectives entered) of each process group of this process.

    Nothing where torch.distributed is not loaded, not initialised, or does not
    tell. Never imports it.
    """
    c10d = sys.modules.get("torch.distributed.distributed_c10d")
    if c10d is None or not c10d.is_initialized():
        return []
    # torch 2 keeps them in one object, torch 1 in the module.
    world = getattr(c10d, "_world", None)
    groups = world.pg_map if world is not None else c10d._pg_map
    names = world.pg_names if world is not None else c10d._pg_names
    ranks = (
        world.pg_group_ranks if world is not None else c10d._pg_group_ranks
    )
    found = []
    for group in list(groups)[: layout.GROUP_COUNT]:
        try:
            entered = int(group._get_sequence_number_for_group())
        except RuntimeError:
            continue  # This backend does not count.
        found.append(
            (group_name(str(names[group]), list(ranks[group])), entered)
        )
    return found


class Watcher(threading.Thread):
    """Tells where `thread_id` stands while the recorder shows no progress."""

    def __init__(self, recorder, standstill, thread_id, count_error):
        super().__init__(name="steadyrun-standstill", daemon=True)
        self._words = recorder.words
        self._standstill = standstill
        self._thread_id = thread_id
        self._count_error = count_error
        self._ended = threading.Event()

    def stop(self):
        """Returns at once; the thread ends within a look."""
        self._ended.set()

    def run(self):
        errors = 0
        while errors < _MOST_ERRORS and not self._ended.wait(LOOK_SECONDS):
            try:
                self.look(time.monotonic_ns())
            except Exception:
                errors += 1
                self._count_error()

    def look(self, now):
        """Writes what there is if the rank stands still; True if it does."""
        if now - self._words[_PROGRESS_MONO_NS] < STANDSTILL_NS:
            return False
        self._standstill.set_stack(stack_of(self._thread_id), now)
        for group, entered in torch_positions():
            self._standstill.set_position(group, entered, now)
        return True
