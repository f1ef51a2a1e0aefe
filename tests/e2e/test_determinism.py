"""The quickstart's training ends with the same bits however often it breaks.

Goal: a difference between two hashes must mean a fault of Steadyrun, not of
the training script. Method: the script alone, uninterrupted, and killed and
resumed at several steps; at 3 ranks and more DDP regroups its buckets after
the first step of a process, which changes sums unless it is prevented.
"""

import os
import tempfile
import time
import unittest

from bare_training import BareTraining

STEPS = 40


def train(world_size, directory, resume="", kill_after=None):
    """One launch; killed (rank 1) after the checkpoint of that step."""
    arguments = [
        "--steps", STEPS, "--checkpoint-every", 10, "--eval-every", 15,
        "--eval-batches", 2, "--checkpoint-dir", directory,
    ]
    if resume:
        arguments += ["--resume", resume]
    with BareTraining(world_size, arguments) as training:
        if kill_after is not None:
            shard = os.path.join(
                directory, "step-%08d" % kill_after, "rank-1.pt"
            )
            deadline = time.monotonic() + 120
            while not os.path.exists(shard):
                if time.monotonic() > deadline:
                    raise AssertionError(training.output())
                time.sleep(0.002)
            training.kill(1)
        codes = training.wait()
        return codes, training.sha256(), training.output()


class DeterminismTest(unittest.TestCase):
    def check(self, world_size):
        with tempfile.TemporaryDirectory() as folder:
            codes, expected, output = train(
                world_size, os.path.join(folder, "plain")
            )
            self.assertEqual(codes, [0] * world_size, output)

            broken = os.path.join(folder, "broken")
            resume = ""
            for kill_after in (10, 20, 30):
                codes, _, output = train(
                    world_size, broken, resume, kill_after
                )
                self.assertNotIn(0, codes, output)
                resume = "newest"
            codes, found, output = train(world_size, broken, resume)
            self.assertEqual(codes, [0] * world_size, output)
            self.assertIn("resumed after step 30", output)

        self.assertIsNotNone(expected)
        self.assertEqual(found, expected)

    def test_two_ranks(self):
        self.check(2)

    def test_four_ranks(self):
        self.check(4)

    def test_survivors_of_a_killed_rank_exit_with_an_error(self):
        with tempfile.TemporaryDirectory() as folder:
            codes, _, output = train(3, folder, kill_after=10)

        self.assertEqual(codes[1], -9)
        self.assertEqual((codes[0], codes[2]), (1, 1), output)


if __name__ == "__main__":
    unittest.main()
