"""What the training-side library tells of a rank that stands still."""

import os
import struct
import sys
import tempfile
import threading
import time
import types
import unittest
from unittest import mock

import recorder_file
from recorder_file import layout

from steadyrun import _run, _standstill
from steadyrun import _recorder as recorder_words
from steadyrun._recorder import Recorder

SECOND = 1_000_000_000


class StandstillTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = os.path.join(folder.name, "recorder")
        recorder_file.create(self.path)
        self.recorder = Recorder(self.path)
        self.run_ = _run.Run(self.recorder)
        self.run_.step(0)  # The start has a pace of its own.
        self.watcher = _standstill.Watcher(
            self.recorder,
            self.run_._standstill,
            self.run_._process_groups,
            threading.get_ident(),
            self.run_._count_error,
        )

    def read(self):
        """(stack lines, {group: entered}) as an agent reads them."""
        with open(self.path, "rb") as file:
            data = file.read()[layout.STANDSTILL_OFFSET:]
        seq, _, frames, _ = struct.unpack_from("<QQII", data, 0)
        self.assertNotEqual(seq, 0, "it is being replaced")

        def text(at, size):
            return data[at : at + size].split(b"\0")[0].decode()

        stack = [text(536 + 144 * i, 144) for i in range(frames)]
        positions = {}
        for i in range(8):
            (entered,) = struct.unpack_from("<Q", data, 24 + 64 * i)
            positions[text(24 + 64 * i + 8, 56)] = entered
        positions.pop("", None)
        return stack, positions

    def later(self, seconds):
        return time.monotonic_ns() + int(seconds * SECOND)

    def test_a_rank_that_advances_is_left_alone(self):
        self.run_.step(1)
        with open(self.path, "rb") as file:
            before = file.read()

        self.assertFalse(self.watcher.look(self.later(2.9)))

        with open(self.path, "rb") as file:
            self.assertEqual(file.read(), before)

    def test_the_stack_of_the_training_thread_innermost_first(self):
        def waits():
            self.assertTrue(self.watcher.look(self.later(3)))

        waits()

        stack, positions = self.read()
        names = [line.split(" ")[0] for line in stack]
        self.assertEqual(names[:3], ["stack_of", "look", "waits"])
        self.assertRegex(stack[2], r"^waits \(test_standstill.py:\d+\)$")
        self.assertLessEqual(len(stack), layout.FRAME_COUNT)
        self.assertEqual(positions, {})

    def test_a_deep_stack_with_long_names_is_cut(self):
        name = "n" * 300
        scope = {"look": lambda: self.watcher.look(self.later(3))}
        exec("def %s(n): look() if n == 0 else %s(n - 1)" % (name, name), scope)
        scope[name](40)

        stack, _ = self.read()
        self.assertEqual(len(stack), layout.FRAME_COUNT)
        self.assertEqual(stack[-1], "n" * 143)

    def test_positions_that_the_training_code_counts_are_always_there(self):
        for _ in range(3):
            self.run_.collective("tp:0-1")
        self.run_.collective("dp:0,2")
        self.watcher.look(self.later(3))

        _, positions = self.read()
        self.assertEqual(positions, {"tp:0-1": 3, "dp:0,2": 1})

    def test_more_communicators_than_fit_are_counted_as_errors(self):
        for number in range(layout.GROUP_COUNT + 2):
            self.run_.collective("g%d" % number)
        self.run_.collective("x" * 56)
        self.run_.collective("")
        self.run_.collective(None)
        self.watcher.look(self.later(3))

        self.assertEqual(self.run_.errors, 5)
        self.assertEqual(len(self.read()[1]), layout.GROUP_COUNT)

    def test_both_kinds_of_positions_have_room_beside_each_other(self):
        self.run_.collective("mine")
        groups = {("0:0-%d" % n): n for n in range(1, 9)}
        with mock.patch.object(
            self.run_._process_groups, "positions",
            lambda: list(groups.items()),
        ):
            self.watcher.look(self.later(3))
            self.assertEqual(
                self.read()[1],
                {"mine": 1, **{"0:0-%d" % n: n for n in range(1, 8)}},
            )
            self.run_.collective("late")
            self.run_.collective("mine")
            self.watcher.look(self.later(9))
        self.assertEqual(
            self.read()[1],
            {"mine": 2, "late": 1, **{"0:0-%d" % n: n for n in range(1, 7)}},
        )
        self.watcher.look(self.later(10))
        self.assertEqual(self.read()[1], {"mine": 2, "late": 1})

    def test_what_has_not_changed_is_not_written_again(self):
        def stand():
            for seconds in (3, 4):
                self.watcher.look(self.later(seconds))
                yield struct.unpack(
                    "<QQ", self.recorder.map[
                        layout.STANDSTILL_OFFSET :
                        layout.STANDSTILL_OFFSET + 16
                    ]
                )

        (seq, then), (seq_later, later) = stand()
        self.assertEqual(seq_later, seq)
        self.assertGreater(later, then)

    def test_the_thread_ends_with_the_run_and_after_errors(self):
        with mock.patch.object(_standstill, "LOOK_SECONDS", 0.001):
            broken = _standstill.Watcher(
                self.recorder, None, None, 0, self.run_._count_error
            )
            self.recorder.words[recorder_words.PROGRESS_MONO_NS] = 0
            broken.start()
            broken.join(30)
            self.assertFalse(broken.is_alive())
            self.assertEqual(self.run_.errors, 3)

            self.run_._watch()
            self.run_.finish()
            self.run_._watcher.join(30)
            self.assertFalse(self.run_._watcher.is_alive())

    def test_it_can_be_turned_off(self):
        with mock.patch.dict(os.environ, {"STEADYRUN_STANDSTILL": "0"}):
            self.run_._watch()
        self.assertIsNone(self.run_._watcher)


class PaceTest(unittest.TestCase):
    """Progress in seconds; a look each second, as the thread does."""

    def setUp(self):
        self.pace = _standstill.Pace()

    def told(self, advances, until, phase="step"):
        """The seconds at which the rank is taken to stand still."""
        found = []
        for second in range(int(advances[0]) + 1, until):
            last = max(at for at in advances if at <= second)
            if self.pace.stands_still(
                second * SECOND, int(last * SECOND), layout.PHASES[phase]
            ):
                found.append(second)
        return found

    def test_after_short_steps_three_seconds(self):
        steps = [0.5 * n for n in range(41)]
        self.assertEqual(self.told(steps, 26), [23, 24, 25])

    def test_a_run_with_long_steps_does_not_tell_in_each(self):
        # The first is not known to be long; then a hang from 71 on.
        told = self.told([1, 11, 21, 31, 41, 51, 61, 71], 90)
        self.assertEqual(told, [*range(4, 11), 86, 87, 88, 89])

    def test_a_checkpoint_is_no_step(self):
        self.told([1, 2], 3)
        # 60 s in it; of these it tells from the 10th second on.
        told = self.told([3], 63, "checkpoint")
        self.assertEqual(told[:2], [13, 14])
        self.assertEqual(self.told([63], 70), [66, 67, 68, 69])


if __name__ == "__main__":
    unittest.main()
