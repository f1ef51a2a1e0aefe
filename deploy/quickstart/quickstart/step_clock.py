"""Follows the newest attempt's steps and wakes who waits for one."""

import threading
import time

from quickstart.processes import StepWatch

_SCAN_SECONDS = 0.2  # Between looks for new processes.
_CLOSE_STEPS = 40  # So near to an awaited step, every step is seen.
_FAST_SECONDS = 0.004
_SLOW_SECONDS = 0.05


class StepClock:
    """A thread that reads the ranks' recorders.

    `attempt` and `step` are of the newest attempt seen; `resumed_at` is the
    step it resumed from, -1 for the beginning.
    """

    def __init__(self, table, run):
        self.table = table
        self.run = run
        self.attempt = 0
        self.step = -1
        self.resumed_at = -1
        self._watch = StepWatch()
        self._awaited = {}  # Waiter's key -> step.
        self._changed = threading.Condition()
        self._is_stopped = False
        self._thread = threading.Thread(
            target=self._follow, name="step-clock", daemon=True
        )

    def start(self):
        self._thread.start()

    def stop(self):
        with self._changed:
            self._is_stopped = True
            self._changed.notify_all()
        if self._thread.ident is not None:
            self._thread.join()

    @property
    def is_stopped(self):
        return self._is_stopped

    def wait(self, step, after_attempt=0):
        """Blocks until an attempt newer than `after_attempt` completes `step`.

        With `after_attempt`, an attempt that resumed at or past the step does
        not count: it never does that step. Returns the attempt; 0 if stopped.
        """
        key = object()
        with self._changed:
            self._awaited[key] = step
            try:
                while not self._is_stopped:
                    is_past = self.step >= step
                    if after_attempt:
                        is_past = (
                            is_past
                            and self.attempt > after_attempt
                            and self.resumed_at < step
                        )
                    if is_past:
                        return self.attempt
                    self._changed.wait()
                return 0
            finally:
                del self._awaited[key]

    def sleep(self, seconds):
        """Like time.sleep, but ends when stopped; False then."""
        deadline = time.monotonic() + seconds
        with self._changed:
            while not self._is_stopped:
                left = deadline - time.monotonic()
                if left <= 0:
                    return True
                self._changed.wait(left)
        return False

    def _follow(self):
        ranks = []
        next_scan = 0.0
        while not self._is_stopped:
            now = time.monotonic()
            if now >= next_scan:
                next_scan = now + _SCAN_SECONDS
                ranks = list(self.table.ranks().values())
                self._watch.keep_only(ranks)
            self._look(ranks)
            time.sleep(self._pause())

    def _look(self, ranks):
        if not ranks:
            return
        step = max(self._watch.step_of(rank) for rank in ranks)
        attempt = ranks[0].attempt
        with self._changed:
            if (attempt, step) != (self.attempt, self.step):
                self.attempt = attempt
                self.step = step
                self.resumed_at = ranks[0].resume_step
                self._changed.notify_all()

    def _pause(self):
        with self._changed:
            step = self.step
            is_close = any(
                awaited - _CLOSE_STEPS <= step
                for awaited in self._awaited.values()
            )
        return _FAST_SECONDS if is_close else _SLOW_SECONDS
