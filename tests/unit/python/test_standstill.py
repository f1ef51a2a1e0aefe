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
        self.watcher = _standstill.Watcher(
            self.recorder,
            self.run_._standstill,
            threading.get_ident(),
            self.run_._count_error,
        )

    def read(self):
        """(stack lines, {group: (entered, mono_ns)}) as an agent reads them."""
        with open(self.path, "rb") as file:
            data = file.read()[layout.STANDSTILL_OFFSET:]
        seq, _, frames, groups = struct.unpack_from("<QQII", data, 0)
        self.assertNotEqual(seq, 0, "the stack is being replaced")

        def text(at, size):
            return data[at : at + size].split(b"\0")[0].decode()

        stack = [text(536 + 144 * i, 144) for i in range(frames)]
        positions = {}
        for i in range(groups):
            entered, then = struct.unpack_from("<QQ", data, 24 + 64 * i)
            positions[text(24 + 64 * i + 16, 48)] = (entered, then)
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
        self.assertEqual(positions, {"tp:0-1": (3, 0), "dp:0,2": (1, 0)})

    def test_more_communicators_than_fit_are_counted_as_errors(self):
        for number in range(layout.GROUP_COUNT + 2):
            self.run_.collective("g%d" % number)
        self.run_.collective("x" * 48)
        self.run_.collective("")
        self.run_.collective(None)
        self.watcher.look(self.later(3))

        self.assertEqual(self.run_.errors, 5)
        self.assertEqual(len(self.read()[1]), layout.GROUP_COUNT)

    def test_the_process_groups_of_torch_are_followed(self):
        group = mock.Mock()
        group._get_sequence_number_for_group.return_value = 812
        silent = mock.Mock()
        silent._get_sequence_number_for_group.side_effect = RuntimeError
        old = types.SimpleNamespace(
            is_initialized=lambda: True,
            _pg_map={group: None, silent: None},
            _pg_names={group: "0", silent: "1"},
            _pg_group_ranks={group: {5: 2, 0: 0, 1: 1}, silent: {0: 0}},
        )
        new = types.SimpleNamespace(
            is_initialized=lambda: True,
            _world=types.SimpleNamespace(
                pg_map=old._pg_map,
                pg_names=old._pg_names,
                pg_group_ranks=old._pg_group_ranks,
            ),
        )
        unready = types.SimpleNamespace(is_initialized=lambda: False)
        name = "torch.distributed.distributed_c10d"
        for module, expected in (
            (old, [("0:0-1,5", 812)]),
            (new, [("0:0-1,5", 812)]),
            (unready, []),
        ):
            with mock.patch.dict(sys.modules, {name: module}):
                self.assertEqual(_standstill.torch_positions(), expected)
                now = self.later(3)
                self.watcher.look(now)
        self.assertEqual(self.read()[1]["0:0-1,5"][0], 812)

    def test_a_group_of_scattered_ranks_has_a_short_name_of_its_own(self):
        even = _standstill.group_name("7", range(0, 200, 2))
        odd = _standstill.group_name("7", range(1, 200, 2))

        self.assertLess(len(even), layout.GROUP_BYTES)
        self.assertNotEqual(even, odd)
        self.assertRegex(even, "^7:100 ranks [0-9a-f]{8}$")

    def test_the_thread_ends_with_the_run_and_after_errors(self):
        with mock.patch.object(_standstill, "LOOK_SECONDS", 0.001):
            broken = _standstill.Watcher(
                self.recorder, None, 0, self.run_._count_error
            )
            self.recorder.words[_standstill._PROGRESS_MONO_NS] = 0
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


if __name__ == "__main__":
    unittest.main()
