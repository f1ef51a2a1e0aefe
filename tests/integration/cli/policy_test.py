"""`steadyrun policy`: of a run, of a file, and the default.

By hand: STEADYRUN_BIN=build/release/bin python3 -m unittest -v policy_test
"""

import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "tests" / "monitoring"))

from stack import BIN, Stack  # noqa: E402


def policy(*words):
    return subprocess.run(
        [str(BIN / "steadyrun"), "policy", *[str(word) for word in words]],
        capture_output=True, text=True, timeout=60,
    )


def without_comments(toml):
    return [line for line in toml.splitlines()
            if line and not line.startswith("#")]


class PolicyFileTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.file = pathlib.Path(folder.name) / "policy.toml"

    def check(self, text, *words):
        self.file.write_text(text)
        return policy("check", self.file, *words)

    def test_the_default_is_what_the_example_says(self):
        done = policy("default")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        example = ROOT / "deploy" / "config" / "policy.example.toml"
        self.assertEqual(done.stdout, example.read_text())

    def test_a_file_is_printed_with_all_that_it_leaves_out(self):
        done = self.check('[incident.hang]\nmode = "advise"\n')
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        effective = without_comments(done.stdout)
        default = without_comments(policy("default").stdout)
        self.assertEqual(len(effective), len(default))
        self.assertEqual(
            [pair for pair in zip(default, effective) if pair[0] != pair[1]],
            [('mode = "act"', 'mode = "advise"')])
        # What it prints is a file that says the same.
        again = self.check(done.stdout)
        self.assertEqual(again.stdout, done.stdout)
        as_json = json.loads(self.check(done.stdout, "-o", "json").stdout)
        self.assertEqual(as_json["toml"], done.stdout)
        self.assertEqual(as_json["file"], str(self.file))
        self.assertFalse(as_json["is_default"])

    def test_each_mistake_is_named_with_its_place(self):
        done = self.check('[incident.hang]\nmodee = "act"\n'
                          '[incident.crash]\nmode = "atc"\n')
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertIn("policy.toml:2:1: ", done.stderr)
        self.assertIn("'mode'", done.stderr)
        self.assertRegex(done.stderr, r"policy\.toml:4:\d+: ")

    def test_what_is_no_toml_is_named_with_its_place(self):
        done = self.check("[incident.hang\n")
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertIn("policy.toml:1:", done.stderr)

    def test_wrong_usage_is_told_from_a_wrong_file(self):
        for words in ((), ("check",), ("check", self.file), ("chekc",)):
            done = policy(*words)
            self.assertEqual(done.returncode, 2, words)
            self.assertNotEqual(done.stderr, "")


class PolicyOfARunTest(unittest.TestCase):
    def setUp(self):
        self.stack = Stack()
        self.addCleanup(self.stack.close)
        self.stack.start_server("")

    def show(self, *words):
        return policy("show", *words, "--server", self.stack.grpc)

    def test_a_run_has_the_policy_of_its_launch(self):
        file = self.stack.work / "policy.toml"
        file.write_text('[incident.crash]\nladder = ["halt"]\n')
        # There is no agent: both wait for a node.
        self.stack.launch("own", "/bin/true", "--policy", file)
        self.stack.launch("plain", "/bin/true")
        own = self.show("own")
        self.assertEqual((own.returncode, own.stderr), (0, ""))
        self.assertIn("# The policy of run own, from %s." % file, own.stdout)
        self.assertEqual(without_comments(own.stdout),
                         without_comments(policy("check", file).stdout))
        plain = self.show("plain")
        self.assertIn("run plain, the default one.", plain.stdout)
        self.assertEqual(without_comments(plain.stdout),
                         without_comments(policy("default").stdout))
        as_json = json.loads(self.show("own", "-o", "json").stdout)
        self.assertEqual(as_json["run"], "own")
        self.assertIn('ladder = ["halt"]', as_json["toml"])
        missing = self.show("none")
        self.assertEqual(missing.returncode, 1)
        self.assertIn("known runs", missing.stderr)


if __name__ == "__main__":
    unittest.main()
