"""The hash of parameters that replicas vote on."""

import array
import os
import struct
import tempfile
import unittest

import recorder_file
from recorder_file import Reader

import steadyrun
from steadyrun import _run
from steadyrun._recorder import Recorder


def halves(*arguments, **keywords):
    metrics = steadyrun.parameter_hash(*arguments, **keywords)
    return metrics["hash/params/lo"], metrics["hash/params/hi"]


class ParameterHashTest(unittest.TestCase):
    def test_equal_bytes_are_equal_and_one_bit_is_seen(self):
        data = bytearray(os.urandom(100_000))
        before = halves(data)
        self.assertEqual(before, halves(bytes(data)))
        for bit in range(0, len(data) * 8, 99_991):
            data[bit // 8] ^= 1 << bit % 8
            self.assertNotEqual(before, halves(data))
            data[bit // 8] ^= 1 << bit % 8
        self.assertEqual(before, halves(data))

    def test_both_halves_survive_a_float32(self):
        for number in range(500):
            for half in halves(number.to_bytes(4, "little")):
                self.assertEqual(half, int(half))
                self.assertTrue(0 <= half < 1 << 24)
                packed = struct.unpack("<f", struct.pack("<f", half))[0]
                self.assertEqual(half, packed)

    def test_parts_are_told_apart_by_their_bounds(self):
        self.assertNotEqual(halves([b"ab", b"c"]), halves([b"a", b"bc"]))
        self.assertNotEqual(halves([b"ab"]), halves([b"ab", b""]))
        self.assertEqual(halves([b"ab"]), halves(b"ab"))
        self.assertEqual(halves(iter([b"ab"])), halves(b"ab"))

    def test_arrays_views_and_strides(self):
        numbers = array.array("f", [1.0, 2.0, 3.0, 4.0])
        self.assertEqual(halves(numbers), halves(numbers.tobytes()))
        strided = memoryview(b"abcdef")[::2]
        self.assertEqual(halves([strided]), halves([b"ace"]))

    def test_what_has_no_bytes_has_no_vote_and_does_not_raise(self):
        for senseless in (None, 3, [None], [b"a", object()], "text"):
            self.assertEqual(steadyrun.parameter_hash(senseless), {})

    def test_the_value_is_the_same_everywhere_and_for_ever(self):
        self.assertEqual(
            steadyrun.parameter_hash([b"weights", b"bias"], what="mlp"),
            {"hash/mlp/lo": 3702448.0, "hash/mlp/hi": 16742230.0},
        )

    def test_a_step_takes_names_with_slashes(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "recorder")
            recorder_file.create(path, rank=0, world_size=1)
            run = _run.Run(Recorder(path))
            metrics = steadyrun.parameter_hash(b"weights")

            run.step(1, loss=1.0, **metrics, **{"equal/loss": 1.0})

            record = Reader(path).record(0)
            self.assertEqual(run.errors, 0)
            self.assertEqual(record["named"], {**metrics, "equal/loss": 1.0})


if __name__ == "__main__":
    unittest.main()
