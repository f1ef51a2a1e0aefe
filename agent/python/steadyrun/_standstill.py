"""Where this rank stands while it does not advance.

A thread of its own sleeps, and looks once a second whether the training code
has made a step or changed its phase. While it has not for longer than is usual
it writes the stack of the training thread and how many collectives each
process group has entered: of ranks that hang, these tell which one did not
come. While training advances it writes nothing.

A training thread that is stuck in C code with the interpreter's lock keeps
this thread waiting too: then nothing is told, which the others' words show.
"""

import collections
import os
import sys
import threading
import time

from steadyrun import _layout as layout
from steadyrun import _recorder as recorder_words

# As agent/recorder/standstill.h has it: the agent tells no sooner.
STANDSTILL_NS = 3_000_000_000
# A healthy run with long steps shall not tell in each of them: a hang is one
# after twice the longest (server/detect/hang_detector.h), so this is in time.
USUAL_FACTOR = 1.5
_USUAL_LOOKS = 64
# Phases with deadlines of their own, of minutes; what they take says nothing
# of a step.
LONG_NS = 10_000_000_000
_LONG_PHASES = frozenset(
    layout.PHASES[name]
    for name in ("startup", "checkpoint", "evaluation", "compile", "shutdown")
)
# A look takes the interpreter's lock for some microseconds.
LOOK_SECONDS = 1.0
# After so many exceptions the thread ends: it is of no use here.
_MOST_ERRORS = 3

_AT = layout.STANDSTILL_OFFSET
_SEQ = (_AT + layout.STANDSTILL_FIELDS["seq"]) // 8
_MONO_NS = (_AT + layout.STANDSTILL_FIELDS["mono_ns"]) // 8
_FRAMES = (_AT + layout.STANDSTILL_FIELDS["frames"]) // 4
_GROUPS_USED = (_AT + layout.STANDSTILL_FIELDS["groups_used"]) // 4
_POSITIONS = _AT + layout.STANDSTILL_FIELDS["positions"]
_STACK = _AT + layout.STANDSTILL_FIELDS["stack"]


class Standstill:
    """The part of the recorder that tells where the rank stands."""

    def __init__(self, recorder):
        self._recorder = recorder
        self._words = recorder.words
        self._groups = {}  # Of run.collective(): index of `entered`.
        self._told = None
        self._seq = 0
        # The threads that enter names: the training's and the watcher's.
        self._lock = threading.Lock()
        recorder.halves[_GROUPS_USED] = 0
        self._words[_SEQ] = 0

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
            at = self._put_position(index, name, 0)
            if self._recorder.barrier:
                self._recorder.barrier()
            self._recorder.halves[_GROUPS_USED] = index + 1
            self._groups[group] = at
            return at

    def _put_position(self, index, name, entered):
        at = _POSITIONS + index * layout.POSITION_BYTES
        self._words[at // 8] = entered
        self._put_text(
            at + layout.POSITION_FIELDS["group"], name, layout.GROUP_BYTES
        )
        return at // 8

    def _put_text(self, at, text, size):
        self._recorder.map[at : at + size] = text[: size - 1].ljust(size, b"\0")

    def tell(self, frames, positions, now):
        """Lines of text, innermost frame first, and [(group, entered)], as of
        `now` in nanoseconds. What is too much is cut.
        """
        with self._lock:
            told = (frames, positions, len(self._groups))
            if told != self._told:
                self._told = told
                self._replace(frames, positions)
            self._words[_MONO_NS] = now

    def _replace(self, frames, positions):
        barrier = self._recorder.barrier or (lambda: None)
        self._seq += 1
        self._words[_SEQ] = 0
        barrier()
        frames = frames[: layout.FRAME_COUNT]
        for number, frame in enumerate(frames):
            self._put_text(
                _STACK + number * layout.FRAME_BYTES,
                frame.encode("ascii", "replace"),
                layout.FRAME_BYTES,
            )
        self._recorder.halves[_FRAMES] = len(frames)
        # The slots that run.collective() left.
        slots = range(len(self._groups), layout.GROUP_COUNT)
        free = [("", 0)] * len(slots)
        for index, (group, entered) in zip(slots, positions + free):
            self._put_position(index, group.encode("ascii", "replace"), entered)
        barrier()
        self._words[_SEQ] = self._seq


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


class Pace:
    """Tells a standstill from a step that is long as usual."""

    def __init__(self):
        self._progress = 0
        self._phase = None
        self._usual = collections.deque(maxlen=_USUAL_LOOKS)

    def stands_still(self, now, progress, phase):
        """`progress`: when the rank last advanced, into `phase`."""
        if progress != self._progress:
            if self._progress and self._phase not in _LONG_PHASES:
                self._usual.append(progress - self._progress)
            self._progress = progress
            self._phase = phase
        quiet = now - progress
        if phase in _LONG_PHASES:
            return quiet >= LONG_NS
        return quiet >= STANDSTILL_NS and quiet >= USUAL_FACTOR * max(
            self._usual, default=0
        )


class Watcher(threading.Thread):
    """Tells where `thread_id` stands while the recorder shows no progress."""

    def __init__(self, recorder, standstill, groups, thread_id, count_error):
        super().__init__(name="steadyrun-standstill", daemon=True)
        self._recorder = recorder
        self._standstill = standstill
        self._groups = groups
        self._thread_id = thread_id
        self._count_error = count_error
        self._pace = Pace()
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
        if not self._pace.stands_still(
            now,
            self._recorder.words[recorder_words.PROGRESS_MONO_NS],
            self._recorder.halves[recorder_words.PHASE],
        ):
            return False
        self._standstill.tell(
            stack_of(self._thread_id), self._groups.positions(), now
        )
        return True
