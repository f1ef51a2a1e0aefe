"""The quickstart finds its processes by /proc alone."""

import os
import subprocess
import sys
import threading
import time
import unittest

from recorder_file import ROOT

sys.path.insert(0, os.path.join(ROOT, "deploy", "quickstart"))

from quickstart import processes  # noqa: E402


class ProcessTableTest(unittest.TestCase):
    def test_a_child_of_the_same_program_is_not_taken_for_its_parent(self):
        """Seen between fork and exec, it still has the parent's environment."""
        table = processes.ProcessTable("token-of-this-test")
        is_done = threading.Event()

        def scan():
            while not is_done.is_set():
                table.scan()

        scanner = threading.Thread(target=scan)
        scanner.start()
        child = subprocess.Popen(
            [sys.executable, "-c", "input()"], stdin=subprocess.PIPE,
            env=dict(os.environ, **{processes.MARKER: "token-of-this-test"}),
            preexec_fn=lambda: time.sleep(0.05),
        )
        is_done.set()
        scanner.join()
        try:
            self.assertIn(child.pid, [found.pid for found in table.scan()])
        finally:
            child.communicate(b"\n")


if __name__ == "__main__":
    unittest.main()
