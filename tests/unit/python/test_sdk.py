"""The training-side library: what it writes, and that it never raises."""

import math
import os
import subprocess
import sys
import tempfile
import unittest
from unittest import mock

import recorder_file
from recorder_file import ROOT, Reader, layout

import steadyrun
from steadyrun import _run
from steadyrun._recorder import Recorder

PACKAGE = os.path.join(ROOT, "agent", "python")


class SdkTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        self.path = os.path.join(folder.name, "recorder")
        recorder_file.create(self.path, rank=1, world_size=4)
        self.run_ = _run.Run(Recorder(self.path))

    def read(self):
        return Reader(self.path)

    def test_attaching_names_the_process_and_the_startup_phase(self):
        reader = self.read()

        self.assertEqual(reader.writer("pid"), os.getpid())
        self.assertEqual(reader.writer("phase"), layout.PHASES["startup"])
        self.assertEqual(reader.writer("step"), -1)
        self.assertEqual((self.run_.rank, self.run_.world_size), (1, 4))

    def test_a_step_is_published_with_all_its_values(self):
        self.run_.step(
            1, loss=2.5, grad_norm=0.5, tokens=512, learning_rate=0.125,
            kl=0.25,
        )

        reader = self.read()
        record = reader.record(0)
        self.assertEqual(record["seq"], 1)
        self.assertEqual(record["step"], 1)
        self.assertEqual(record["loss"], 2.5)
        self.assertEqual(record["grad_norm"], 0.5)
        self.assertEqual(record["tokens"], 512)
        self.assertEqual(record["learning_rate"], 0.125)
        self.assertEqual(record["named"], {"kl": 0.25})
        self.assertEqual(reader.writer("steps_written"), 1)
        self.assertEqual(reader.writer("step"), 1)
        self.assertEqual(reader.writer("phase"), layout.PHASES["step"])

    def test_absent_is_not_nan(self):
        self.run_.step(1, loss=float("nan"))

        record = self.read().record(0)
        self.assertTrue(math.isnan(record["loss"]))
        self.assertNotEqual(record["loss_bits"], layout.ABSENT_BITS)
        self.assertEqual(record["norm_bits"], layout.ABSENT_BITS)

    def test_the_ring_goes_round(self):
        for step in range(1, 21):
            self.run_.step(step, loss=float(step))

        reader = self.read()
        self.assertEqual(reader.writer("steps_written"), 20)
        for number in range(12, 20):
            record = reader.record(number)
            self.assertEqual(record["seq"], number + 1)
            self.assertEqual(record["loss"], number + 1)

    def test_values_of_any_kind_are_converted_or_counted(self):
        class Tensor:
            def __float__(self):
                return 3.0

        self.run_.step(1, loss=Tensor(), grad_norm="4", tokens=7)
        self.run_.step(2, loss=object(), grad_norm=1e300)
        self.run_.step(3, loss=1.0, tokens=object())

        reader = self.read()
        self.assertEqual(reader.record(0)["loss"], 3.0)
        self.assertEqual(reader.record(0)["grad_norm"], 4.0)
        self.assertEqual(reader.record(1)["loss_bits"], layout.ABSENT_BITS)
        self.assertEqual(reader.record(1)["grad_norm"], math.inf)
        self.assertEqual(reader.record(2)["loss"], 1.0)
        self.assertEqual(reader.writer("errors"), 2)

    def test_a_device_tensor_is_read_every_tenth_step_only(self):
        class DeviceTensor:
            is_cpu = False
            reads = 0

            def __float__(self):
                DeviceTensor.reads += 1
                return 1.0

        for step in range(1, 31):
            self.run_.step(step, loss=DeviceTensor())

        self.assertEqual(DeviceTensor.reads, 3)

    def test_too_many_metrics_are_counted_not_raised(self):
        self.run_.step(1, **{"m%d" % i: 1.0 for i in range(30)})
        self.run_.step(2, **{"n%d" % i: 1.0 for i in range(60)})
        self.run_.step(3, **{"no good": 1.0, "x" * 64: 2.0, "fine": 3.0})

        reader = self.read()
        self.assertEqual(len(reader.record(0)["named"]), 20)
        self.assertLessEqual(len(reader.names()), 64)
        self.assertGreater(reader.writer("errors"), 0)
        self.assertEqual(reader.writer("steps_written"), 3)

    def test_phases_count_and_come_back(self):
        self.run_.step(1)
        before = self.read().writer("phase_seq")

        with self.run_.phase("evaluation"):
            inside = self.read()
            with self.run_.phase("checkpoint"):
                nested = self.read()
            again = self.read()
        after = self.read()

        self.assertEqual(inside.writer("phase"), layout.PHASES["evaluation"])
        self.assertEqual(nested.writer("phase"), layout.PHASES["checkpoint"])
        self.assertEqual(again.writer("phase"), layout.PHASES["evaluation"])
        self.assertEqual(after.writer("phase"), layout.PHASES["step"])
        self.assertEqual(after.writer("phase_seq"), before + 4)

    def test_an_exception_passes_through_a_phase(self):
        self.run_.step(1)
        with self.assertRaises(KeyError):
            with self.run_.phase("checkpoint"):
                raise KeyError("the user's own")

        self.assertEqual(self.read().writer("phase"), layout.PHASES["step"])

    def test_checkpoint_time_is_not_step_time(self):
        clock = iter(range(0, 10**12, 10**9))
        with mock.patch.object(
            _run.time, "monotonic_ns", lambda: next(clock)
        ):
            run = _run.Run(Recorder(self.path))
            run.step(1)
            began = run._last_ns
            with run.phase("checkpoint"):
                pass
            run.checkpoint_saved(1, "/c/rank-1.pt")
            run.step(2)
            ended = run._last_ns

        reader = self.read()
        record = reader.record(1)
        self.assertLess(record["step_seconds"], (ended - began) * 1e-9)
        self.assertGreater(record["step_seconds"], 0)
        self.assertGreater(reader.event(0)["seconds"], 0)

    def test_a_checkpoint_is_an_event(self):
        self.run_.checkpoint_saved(40, "/c/step-40/rank-1.pt")
        self.run_.checkpoint_saved(41, "/c/one.pt", shards=1)

        reader = self.read()
        self.assertEqual(reader.writer("events_written"), 2)
        event = reader.event(0)
        self.assertEqual(event["kind"], layout.EVENT_CHECKPOINT_SAVED)
        self.assertEqual(event["shards"], 4)
        self.assertEqual(event["step"], 40)
        self.assertEqual(event["text"], "/c/step-40/rank-1.pt")
        self.assertEqual(reader.event(1)["shards"], 1)

    def test_a_path_too_long_is_counted(self):
        self.run_.checkpoint_saved(1, "/" + "x" * 2000)

        self.assertEqual(self.read().writer("events_written"), 0)
        self.assertEqual(self.run_.errors, 1)

    def test_finish_is_an_event_with_the_last_step(self):
        self.run_.step(9)
        self.run_.finish(parameters_sha256="ab" * 32)

        reader = self.read()
        self.assertEqual(reader.writer("finished"), 1)
        self.assertEqual(reader.writer("phase"), layout.PHASES["shutdown"])
        event = reader.event(0)
        self.assertEqual(event["kind"], layout.EVENT_FINISHED)
        self.assertEqual(event["step"], 9)
        self.assertEqual(event["text"], "ab" * 32)

    def test_a_save_word_is_due_at_its_step_and_once(self):
        self.run_.step(1)
        recorder_file.send_save(self.path, 1, layout.ACTION_SAVE, 4)

        actions = [self.run_.step(step) for step in range(2, 7)]

        self.assertEqual([bool(action) for action in actions],
                         [False, False, True, False, False])
        self.assertTrue(actions[2].save)
        self.assertFalse(actions[2].stop)
        self.assertEqual(actions[2].step, 4)
        self.assertEqual(self.read().writer("command_ack_seq"), 1)

    def test_a_save_word_for_a_past_step_is_dropped(self):
        self.run_.step(5)
        recorder_file.send_save(self.path, 1, layout.ACTION_SAVE, 3)
        late = self.run_.step(6)
        recorder_file.send_save(self.path, 2, layout.ACTION_SAVE_STOP, 7)
        following = self.run_.step(7)

        self.assertIsNone(late)
        self.assertTrue(following.stop)

    def test_a_newer_save_word_replaces_the_older(self):
        recorder_file.send_save(self.path, 1, layout.ACTION_SAVE, 3)
        self.run_.step(1)
        recorder_file.send_save(self.path, 2, layout.ACTION_SAVE, 5)
        due = [step for step in range(2, 8) if self.run_.step(step)]

        self.assertEqual(due, [5])

    def test_a_save_word_being_replaced_keeps_the_one_before(self):
        recorder_file.send_save(self.path, 1, layout.ACTION_SAVE, 3)
        self.run_.step(1)
        recorder_file.send_save(self.path, 0, layout.ACTION_NONE, 0)
        due = [step for step in range(2, 5) if self.run_.step(step)]

        self.assertEqual(due, [3])

    def test_misuse_never_raises(self):
        run = self.run_
        run.step("one", loss=1.0)
        run.step(None)
        run.checkpoint_saved("x", None)
        run.finish(parameters_sha256=b"\xff")
        with run.phase(None):
            pass
        with run.phase(["unhashable"]):
            pass

        self.assertGreater(run.errors, 0)

    def test_a_forked_child_writes_nothing(self):
        code = (
            "import os, steadyrun\n"
            "run = steadyrun.init()\n"
            "run.step(1)\n"
            "pid = os.fork()\n"
            "if pid == 0:\n"
            "    run.step(99)\n"
            "    os._exit(0)\n"
            "os.waitpid(pid, 0)\n"
        )
        self.run_program(code, STEADYRUN_RECORDER=self.fresh())

        self.assertEqual(self.read().writer("step"), 1)

    # --- init()

    def fresh(self, **options):
        recorder_file.create(self.path, **options)
        return self.path

    def run_program(self, code, **environment):
        for name in ("RECORDER", "ATTEMPT"):
            environment.setdefault("STEADYRUN_" + name, "")
        return subprocess.run(
            [sys.executable, "-c", code],
            env=dict(os.environ, PYTHONPATH=PACKAGE, **environment),
            capture_output=True, text=True, check=True,
        )

    def test_without_an_agent_everything_does_nothing(self):
        result = self.run_program(
            "import steadyrun\n"
            "run = steadyrun.init()\n"
            "assert run is steadyrun.init()\n"
            "assert not run.active and not run.resume\n"
            "assert run.step(1, loss=1.0, anything=2) is None\n"
            "with run.phase('checkpoint'): pass\n"
            "run.checkpoint_saved(1, 'x')\n"
            "run.finish()\n"
            "print(run.errors)\n"
        )

        self.assertEqual(result.stdout, "0\n")
        self.assertEqual(result.stderr, "")

    def test_a_broken_recorder_is_reported_and_ignored(self):
        with open(self.path, "wb") as file:
            file.write(b"\0" * 500000)
        result = self.run_program(
            "import steadyrun\n"
            "run = steadyrun.init()\n"
            "run.step(1)\n"
            "print(run.active, run.errors)\n",
            STEADYRUN_RECORDER=self.path,
        )

        self.assertEqual(result.stdout, "False 1\n")
        self.assertIn("different releases", result.stderr)

    def test_a_recorder_of_another_attempt_is_left_alone(self):
        result = self.run_program(
            "import steadyrun\nprint(steadyrun.init().active)\n",
            STEADYRUN_RECORDER=self.fresh(attempt=3), STEADYRUN_ATTEMPT="2",
        )

        self.assertEqual(result.stdout, "False\n")
        self.assertEqual(self.read().writer("pid"), 0)

    def test_a_child_with_the_environment_of_its_rank_stays_out(self):
        code = (
            "import steadyrun, subprocess, sys\n"
            "run = steadyrun.init()\n"
            "print(subprocess.run([sys.executable, '-c', 'import steadyrun;"
            " print(steadyrun.init().active)'], capture_output=True,"
            " text=True).stdout.strip(), run.active)\n"
        )
        result = self.run_program(code, STEADYRUN_RECORDER=self.fresh())

        self.assertEqual(result.stdout, "False True\n")

    def test_resume_tells_where_to_go_on(self):
        result = self.run_program(
            "import steadyrun\n"
            "run = steadyrun.init()\n"
            "print(bool(run.resume), run.resume.step, run.resume.path,\n"
            "      run.resume.attempt, run.checkpoint_dir,\n"
            "      run.target_steps)\n",
            STEADYRUN_RECORDER=self.fresh(attempt=4), STEADYRUN_ATTEMPT="4",
            STEADYRUN_RESUME_STEP="120", STEADYRUN_RESUME_PATH="/c/r.pt",
            STEADYRUN_CHECKPOINT_DIR="/c/attempt-4",
            STEADYRUN_TARGET_STEPS="150",
        )

        self.assertEqual(
            result.stdout, "True 120 /c/r.pt 4 /c/attempt-4 150\n"
        )

    def test_data_to_leave_out_is_jumped_over(self):
        result = self.run_program(
            "import steadyrun\n"
            "resume = steadyrun.init().resume\n"
            "print([resume.data(step) for step in (1, 9, 10, 14, 15, 40)],\n"
            "      resume.learning_rate_factor)\n",
            STEADYRUN_SKIP="10-12,18-19,x-,7", STEADYRUN_RESUME_STEP="8",
            STEADYRUN_LEARNING_RATE_FACTOR="0.9",
        )

        self.assertEqual(
            result.stdout, "[1, 9, 13, 17, 20, 45] 0.9\n"
        )

    def test_nothing_is_left_out_unless_told(self):
        result = self.run_program(
            "import steadyrun\n"
            "resume = steadyrun.init().resume\n"
            "print(resume.data(7), resume.skip, resume.learning_rate_factor)\n",
            STEADYRUN_LEARNING_RATE_FACTOR="-3",
        )

        self.assertEqual(result.stdout, "7 () 1.0\n")


if __name__ == "__main__":
    unittest.main()
