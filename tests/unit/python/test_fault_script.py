"""The quickstart's fault script: what is read, and what is refused where."""

import os
import sys
import unittest

from recorder_file import ROOT

sys.path.insert(0, os.path.join(ROOT, "deploy", "quickstart"))

from quickstart import fault_script  # noqa: E402

DEFAULT = os.path.join(ROOT, "deploy", "quickstart", "default_faults.toml")


class FaultScriptTest(unittest.TestCase):
    def refuse(self, text):
        with self.assertRaises(fault_script.FaultScriptError) as raised:
            fault_script.parse(text, "f.toml")
        return str(raised.exception)

    def test_all_keys(self):
        fault, = fault_script.parse(
            "[[fault]]\nat_step = 10\nkind = 'slow_rank'\nrank = 3\n"
            "seconds = 5\nfactor = 2.5\ndelay = 1\n"
        )

        self.assertEqual(fault.kind, "slow_rank")
        self.assertEqual((fault.at_step, fault.rank), (10, 3))
        self.assertEqual((fault.duration(), fault.factor), (5, 2.5))

    def test_a_duration_has_a_default(self):
        fault, = fault_script.parse(
            "[[fault]]\nat_seconds = 1.5\nkind = 'pause_node'\nnode = 1\n"
        )

        self.assertEqual(fault.duration(), 15)
        self.assertEqual(fault.at_seconds, 1.5)

    def test_an_empty_script_has_no_faults(self):
        self.assertEqual(fault_script.parse(""), [])

    def test_the_default_script_holds_every_kind(self):
        faults = fault_script.load(DEFAULT)

        self.assertEqual(
            {fault.kind for fault in faults}, set(fault_script.KINDS)
        )
        self.assertLess(max(fault.at_step for fault in faults), 1500)

    def test_refusals_say_where_and_what_would_do(self):
        good = "[[fault]]\nat_step = 1\nkind = 'kill_rank'\n"
        cases = {
            good + "rnak = 1": "f.toml:4:1: unknown key 'rnak' of a fault;"
                               " did you mean 'rank'?",
            good + "\n[[fault]]\n  kind = 'kil_rank'\n  at_step = 2":
                "f.toml:6:3: unknown kind 'kil_rank'; did you mean"
                " 'kill_rank'?",
            "[[fault]]\nkind = 'kill_server'":
                "f.toml:1:1: a fault needs 'at_step' or 'at_seconds', one of"
                " the two",
            good + "at_seconds = 3":
                "f.toml:4:1: a fault needs 'at_step' or 'at_seconds', one of"
                " the two",
            "[[fault]]\nat_step = 1": "f.toml:1:1: a fault needs a 'kind'",
            good + "rank = '1'":
                "f.toml:4:1: rank = '1', expected an integer",
            good + "rank = -1":
                "f.toml:4:1: rank = -1, expected 0 to 1e+06",
            good + "seconds = nan":
                "f.toml:4:1: seconds = nan, expected 0 to 604800",
            good + "rank = 1\nnode = 2":
                "f.toml:5:1: 'rank' and 'node' together: one of the two",
            good + "factor = 2":
                "f.toml:4:1: 'factor' goes with slow_rank only",
            good + "repeat = 1":
                "f.toml:4:1: repeat = 1, expected true or false",
            "[[fault]]\nat_seconds = 1\nkind = 'kill_rank'\nrepeat = true":
                "f.toml:4:1: 'repeat' needs 'at_step'",
            "[[faults]]\nkind = 1":
                "f.toml:1:3: unknown key 'faults'; did you mean 'fault'?",
            "fault = 3": "f.toml:1:1: faults are written as [[fault]] tables",
            "[[fault]\n": "f.toml:1:8: Expected ']]' at the end of an array"
                          " declaration",
        }
        for text, expected in cases.items():
            with self.subTest(text):
                self.assertEqual(self.refuse(text), expected)

    def test_a_missing_file_is_named(self):
        with self.assertRaises(fault_script.FaultScriptError) as raised:
            fault_script.load("/nowhere/f.toml")
        self.assertIn("/nowhere/f.toml: No such file", str(raised.exception))


if __name__ == "__main__":
    unittest.main()
