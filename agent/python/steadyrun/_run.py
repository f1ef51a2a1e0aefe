"""The run as the training code sees it. See the package's docstring."""

import os
import sys
import threading
import time

from steadyrun import _environment as environment
from steadyrun import _layout as layout
from steadyrun import _recorder as recorder_words
from steadyrun._process_groups import ProcessGroups
from steadyrun._recorder import Recorder
from steadyrun._standstill import Standstill, Watcher

_ABSENT = layout.struct.unpack(
    "<f", layout.struct.pack("<I", layout.ABSENT_BITS)
)[0]
_INF = float("inf")
_FLOAT32_MAX = 3.4028234663852886e38
# Device tensors are converted at every so manieth step only: reading one waits
# for the device's queue, which must not happen at each step.
_DEVICE_TENSOR_STEPS = 10
_PHASE_STEP = layout.PHASES["step"]
_PHASE_STARTUP = layout.PHASES["startup"]
_PHASE_SHUTDOWN = layout.PHASES["shutdown"]
# Phases whose time is not time of the step they follow.
_OUTSIDE_STEP = frozenset(
    layout.PHASES[name] for name in ("checkpoint", "evaluation", "compile")
)


class Action:
    """What the operator or the service asks for at the end of `step`."""

    __slots__ = ("save", "stop", "step")

    def __init__(self, save, stop, step):
        self.save = save  # Save a checkpoint of this step now.
        self.stop = stop  # Then leave the training loop.
        self.step = step

    def __repr__(self):
        return "Action(save=%r, stop=%r, step=%r)" % (
            self.save,
            self.stop,
            self.step,
        )


class Resume:
    """Where to go on. False when the run starts from the beginning."""

    __slots__ = ("step", "path", "attempt", "skip", "learning_rate_factor")

    def __init__(self, step, path, attempt, skip=(), learning_rate_factor=1.0):
        self.step = step  # Last step contained in the checkpoint; -1 none.
        self.path = path  # This rank's part of it; "" none.
        self.attempt = attempt  # This attempt, counted from 1; 0 no agent.
        # ((first, last), ...): data to leave out after a rollback.
        self.skip = skip
        # Multiply the learning rate by it.
        self.learning_rate_factor = learning_rate_factor

    def data(self, step):
        """The number of the data to use at `step`.

        `step` itself while nothing is to be left out; past a window of
        `skip`, as many further on. A trainer whose batches are numbered asks
        for batch `data(step)`; one that reads a stream drops what lies
        between.
        """
        for first, last in self.skip:
            if step >= first:
                step += last - first + 1
        return step

    def __bool__(self):
        return self.step >= 0 and bool(self.path)

    def __repr__(self):
        return "Resume(step=%r, path=%r, attempt=%r)" % (
            self.step,
            self.path,
            self.attempt,
        )


class _Phase:
    """Context of one kind of phase; made once, so entering is cheap."""

    __slots__ = ("_run", "_phase", "_outer", "_began")

    def __init__(self, run, phase):
        self._run = run
        self._phase = phase
        self._outer = []
        self._began = []

    def __enter__(self):
        try:
            self._outer.append(self._run._phase)
            self._began.append(self._run._enter(self._phase))
        except Exception:
            self._run._count_error()
        return self

    def __exit__(self, kind, error, trace):
        try:
            now = self._run._enter(self._outer.pop())
            self._run._spend(self._phase, now - self._began.pop())
        except Exception:
            self._run._count_error()
        return False


class _NoPhase:
    __slots__ = ()

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        return False


_NO_PHASE = _NoPhase()


class Run:
    """One rank's side of a run. Call it from the training thread only."""

    def __init__(self, recorder=None):
        self.rank = environment.number("RANK", 0)
        self.world_size = environment.number("WORLD_SIZE", 1)
        self.run_id = environment.text(environment.RUN_ID)
        self.checkpoint_dir = environment.text(environment.CHECKPOINT_DIR)
        self.target_steps = environment.number(environment.TARGET_STEPS, 0)
        self.resume = Resume(
            environment.number(environment.RESUME_STEP, -1),
            environment.text(environment.RESUME_PATH),
            environment.number(environment.ATTEMPT, 0),
            environment.ranges(environment.SKIP),
            environment.factor(environment.LEARNING_RATE_FACTOR),
        )
        self.errors = 0  # Exceptions swallowed here.
        self.last_error = ""
        self._recorder = recorder
        self._phase = _PHASE_STARTUP
        self._phases = {}
        self._writers = {}
        self._last_ns = 0  # End of the last step; 0 before the first.
        self._outside_ns = 0  # Spent outside the step since its begin.
        self._data_ns = 0
        self._checkpoint_ns = 0
        self._command_seq = 0
        self._pending = None
        self._standstill = None
        self._watcher = None
        self._process_groups = ProcessGroups()
        self._mark_due = sys.maxsize  # Step; see _process_groups.py.
        if recorder is not None:
            self._attach()

    @property
    def active(self):
        """True while an agent's recorder is written."""
        return self._recorder is not None

    # --- Called by the training code. None of these raises.

    def step(
        self,
        step,
        loss=None,
        grad_norm=None,
        tokens=None,
        *,
        step_seconds=None,
        compute_seconds=None,
        learning_rate=None,
        loss_scale=None,
        data_seconds=None,
        **metrics
    ):
        """Reports the end of a step; returns the action due now, or None.

        `step` counts from 1. `tokens` are those of this rank in this step.
        Further keywords are metrics of their own: at most 20 a step, 64
        names a run. Numbers, or anything float() takes.
        """
        if self._recorder is None:
            return None
        try:
            now = time.monotonic_ns()
            if step_seconds is None and self._last_ns:
                step_seconds = (now - self._last_ns - self._outside_ns) * 1e-9
            if data_seconds is None and self._data_ns:
                data_seconds = self._data_ns * 1e-9
            # The common case is plain floats; anything else is looked at.
            if loss.__class__ is not float:
                loss = self._number(loss, step)
            if grad_norm.__class__ is not float:
                grad_norm = self._number(grad_norm, step)
            values = (
                _ABSENT if step_seconds is None else step_seconds,
                loss,
                grad_norm,
                _ABSENT if tokens is None else tokens,
                _ABSENT if compute_seconds is None else compute_seconds,
                _ABSENT if learning_rate is None else learning_rate,
                _ABSENT if loss_scale is None else loss_scale,
                _ABSENT if data_seconds is None else data_seconds,
            )
            self._publish(step, now, values, metrics)
            self._last_ns = now
            self._outside_ns = self._data_ns = self._checkpoint_ns = 0
            words = self._words
            if self._phase != _PHASE_STEP:
                self._enter(_PHASE_STEP)
            else:
                words[recorder_words.PHASE_MONO_NS] = now
            if step >= self._mark_due:
                self._mark(step)
            if words[recorder_words.COMMAND_SEQ] != self._command_seq:
                self._read_command()
            if self._pending is not None:
                return self._due(step)
        except Exception:
            self._count_error()
        return None

    def phase(self, name):
        """A context: `with run.phase("checkpoint"): ...`.

        Each phase has its own hang deadline. Unknown names count as "other".
        """
        if self._recorder is None:
            return _NO_PHASE
        try:
            phase = self._phases.get(name)
            if phase is None:
                number = layout.PHASES.get(name, layout.PHASES["other"])
                phase = self._phases[name] = _Phase(self, number)
            return phase
        except Exception:
            self._count_error()
            return _NO_PHASE

    def collective(self, group):
        """The training code is about to enter a collective of `group`.

        For communicators that torch.distributed does not know; those it knows
        are followed by themselves. `group`: a name of at most 55 bytes, equal
        on all members and of no other communicator ("tp:0-7"); at most 8 a
        rank. Of ranks that hang, it tells which one did not come.
        """
        if self._standstill is None:
            return
        try:
            at = self._standstill.entered_word(group)
            if at is None:
                raise ValueError("communicator %r does not fit" % (group,))
            self._words[at] += 1
        except Exception:
            self._count_error()

    def checkpoint_saved(self, step, path, shards=None):
        """This rank's part of the checkpoint of `step` is complete at `path`.

        Call it when the file has its final name and is synced. `shards`: how
        many ranks save a part (default: all).
        """
        if self._recorder is None:
            return
        try:
            is_written = self._recorder.write_event(
                layout.EVENT_CHECKPOINT_SAVED,
                self.world_size if shards is None else int(shards),
                int(step),
                time.time_ns(),
                self._checkpoint_seconds(),
                os.path.abspath(os.fspath(path)),
            )
            if not is_written:
                raise ValueError("path longer than 984 bytes: %s" % path)
        except Exception:
            self._count_error()

    def finish(self, parameters_sha256=""):
        """The training code is done; the last call."""
        if self._recorder is None:
            return
        try:
            self._enter(_PHASE_SHUTDOWN)
            self._recorder.write_event(
                layout.EVENT_FINISHED,
                0,
                self._recorder.signed[recorder_words.STEP],
                time.time_ns(),
                0.0,
                str(parameters_sha256 or ""),
            )
            self._recorder.halves[recorder_words.FINISHED] = 1
            if self._watcher is not None:
                self._watcher.stop()
        except Exception:
            self._count_error()

    # --- Inside.

    def _attach(self):
        recorder = self._recorder
        self._words = recorder.words
        self.rank = recorder.rank
        self.world_size = recorder.world_size
        self.run_id = recorder.run
        now = time.monotonic_ns()
        recorder.signed[recorder_words.STEP] = -1
        recorder.words[recorder_words.PROGRESS_MONO_NS] = now
        self._enter(_PHASE_STARTUP)
        self._standstill = Standstill(recorder)
        recorder.halves[recorder_words.PID] = os.getpid()

    def _watch(self):
        """Starts the thread that tells where this thread stands still."""
        if self._recorder is None or not environment.number(
            environment.STANDSTILL, 1
        ):
            return
        self._watcher = Watcher(
            self._recorder,
            self._standstill,
            self._process_groups,
            threading.get_ident(),
            self._count_error,
        )
        self._watcher.start()
        self._mark_due = -sys.maxsize

    def _mark(self, step):
        try:
            self._mark_due = self._process_groups.mark(int(step))
        except Exception:
            self._mark_due = sys.maxsize
            self._count_error()

    def _enter(self, phase):
        """Makes `phase` the current one; the time of the change."""
        now = time.monotonic_ns()
        recorder = self._recorder
        words = recorder.words
        self._phase = phase
        recorder.halves[recorder_words.PHASE] = phase
        words[recorder_words.PHASE_MONO_NS] = now
        words[recorder_words.PROGRESS_MONO_NS] = now
        words[recorder_words.PHASE_SEQ] += 1
        return now

    def _spend(self, phase, nanoseconds):
        if phase in _OUTSIDE_STEP:
            self._outside_ns += nanoseconds
            if phase == layout.PHASES["checkpoint"]:
                self._checkpoint_ns += nanoseconds
        elif phase == layout.PHASES["data"]:
            self._data_ns += nanoseconds

    def _checkpoint_seconds(self):
        """Spent in the checkpoint phase since the last step, until now."""
        spent = self._checkpoint_ns
        phase = self._phases.get("checkpoint")
        if phase is not None and phase._began:
            spent += time.monotonic_ns() - phase._began[0]
        return spent * 1e-9

    def _publish(self, step, now, values, metrics):
        recorder = self._recorder
        words = self._words
        number = words[recorder_words.STEPS_WRITTEN]
        at = (
            layout.STEPS_OFFSET
            + number % recorder.step_count * layout.STEP_BYTES
        )
        if recorder.barrier is not None:
            words[at >> 3] = 0
            recorder.barrier()
        named = self._interleave(metrics, step) if metrics else ()
        writer = self._writers.get(len(named))
        if writer is None:
            writer = self._writers[len(named)] = layout.step_slot(
                len(named) // 2
            )
        # The slot's seq is zero from the first store on, so that a reader
        # cannot take the half-written slot for the old one.
        try:
            writer(
                recorder.map, at, 0, step, now, time.time_ns(), *values,
                len(named) >> 1, 0, *named
            )
        except Exception:
            writer(
                recorder.map, at, 0, int(step), now, time.time_ns(),
                *[self._number(value, step) for value in values],
                len(named) >> 1, 0, *self._convert(named, step)
            )
        if recorder.barrier is not None:
            recorder.barrier()
        words[at >> 3] = number + 1
        if recorder.barrier is not None:
            recorder.barrier()
        words[recorder_words.STEPS_WRITTEN] = number + 1
        recorder.signed[recorder_words.STEP] = step
        words[recorder_words.PROGRESS_MONO_NS] = now

    def _interleave(self, metrics, step):
        """(index, value, index, value, ...), at most what a record holds."""
        flat = []
        for name, value in metrics.items():
            index = self._recorder.name_index(name)
            if index is None or len(flat) >= 2 * layout.NAMED_PER_STEP:
                self._count_error("metric %r does not fit" % (name,))
                continue
            flat.append(index)
            flat.append(
                value
                if value.__class__ is float
                else self._number(value, step)
            )
        return flat

    def _convert(self, named, step):
        return [
            self._number(item, step) if at % 2 else item
            for at, item in enumerate(named)
        ]

    def _number(self, value, step):
        """`value` as a float that fits 32 bits; absent if it is no number."""
        if value is None:
            return _ABSENT
        try:
            if (
                getattr(value, "is_cpu", True) is False
                and int(step) % _DEVICE_TENSOR_STEPS
            ):
                return _ABSENT
            number = float(value)
        except Exception:
            self._count_error()
            return _ABSENT
        if number > _FLOAT32_MAX:
            return _INF
        if number < -_FLOAT32_MAX:
            return -_INF
        return number

    def _read_command(self):
        """Takes the newest save word, if it is whole."""
        recorder = self._recorder
        seq = recorder.words[recorder_words.COMMAND_SEQ]
        action = recorder.halves[recorder_words.COMMAND_ACTION]
        step = recorder.signed[recorder_words.COMMAND_STEP]
        if seq == 0 or recorder.words[recorder_words.COMMAND_SEQ] != seq:
            return  # Being replaced; the next step reads it.
        self._command_seq = seq
        self._pending = None
        if action in (layout.ACTION_SAVE, layout.ACTION_SAVE_STOP):
            self._pending = Action(
                True, action == layout.ACTION_SAVE_STOP, step
            )
        recorder.words[recorder_words.COMMAND_ACK_SEQ] = seq

    def _due(self, step):
        """The pending action if it is for this very step.

        A word for a step that is over is dropped: the other ranks have saved
        or missed it too, and a late save would be of another step.
        """
        action = self._pending
        if step < action.step:
            return None
        self._pending = None
        return action if step == action.step else None

    def _count_error(self, text=""):
        try:
            self.errors += 1
            self.last_error = text or repr(sys.exc_info()[1])
            if self._recorder is not None:
                self._recorder.words[recorder_words.ERRORS] = self.errors
        except Exception:
            pass

    def _detach(self):
        """In a forked child: the recorder belongs to the parent."""
        self._recorder = None
        self._standstill = None


_current = None


def init():
    """The run of this process; the same object at every call. Never raises.

    Does nothing but read the environment when no agent started this process.
    """
    global _current
    if _current is not None:
        return _current
    run = None
    try:
        run = Run(_open_recorder())
        run._watch()
    except Exception as error:
        _warn("%s" % error)
        run = Run()
        run.errors += 1
        run.last_error = repr(error)
    _current = run
    try:
        os.register_at_fork(after_in_child=_after_fork)
    except Exception:
        pass
    return run


def _after_fork():
    if _current is not None:
        _current._detach()


def _open_recorder():
    path = environment.text(environment.RECORDER)
    if not path:
        return None
    recorder = Recorder(path)
    expected = environment.number(environment.ATTEMPT, recorder.attempt)
    if recorder.attempt != expected:
        _warn(
            "%s is of attempt %d, this process of attempt %d; nothing is"
            " reported" % (path, recorder.attempt, expected)
        )
        return None
    writer = recorder.halves[recorder_words.PID]
    if writer not in (0, os.getpid()) and os.path.exists("/proc/%d" % writer):
        # A child process inherited the environment of its rank.
        return None
    return recorder


def _warn(text):
    try:
        sys.stderr.write("steadyrun: %s\n" % text)
    except Exception:
        pass
