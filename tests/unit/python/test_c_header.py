"""agent/c/steadyrun.h writes what the Python package writes."""

import os
import shutil
import subprocess
import tempfile
import unittest

import recorder_file
from recorder_file import ROOT, Reader, layout

PROGRAM = r"""
#include <stdio.h>
#include "agent/c/steadyrun.h"

int main(void) {
  struct srun_run run;
  if (srun_init(&run) != run.is_active) return 2;
  printf("active %d resume %lld %s dir %s\n", run.is_active,
         (long long)run.resume_step, run.resume_path, run.checkpoint_dir);
  uint32_t kl = srun_metric(&run, "kl");
  if (run.is_active && srun_metric(&run, "no good") != UINT32_MAX) return 3;
  for (int64_t i = 1; i <= 12; ++i) {
    uint32_t outer = srun_enter(&run, SRUN_PHASE_FORWARD);
    srun_leave(&run, outer);
    struct srun_values values = srun_no_values();
    values.loss = (float)i;
    values.tokens = 512;
    values.named[0].name = kl;
    values.named[0].value = 0.25f;
    values.named_count = 1;
    struct srun_due due = srun_step(&run, i, &values);
    if (due.save) {
      outer = srun_enter(&run, SRUN_PHASE_CHECKPOINT);
      srun_checkpoint_saved(&run, i, "/c/rank-1.bin", 0);
      srun_leave(&run, outer);
      printf("saved %lld\n", (long long)i);
    }
    if (due.stop) printf("stop %lld\n", (long long)i);
  }
  srun_finish(&run, "abc");
  return 0;
}
"""


class CHeaderTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        self.path = os.path.join(self.folder, "recorder")
        recorder_file.create(self.path, rank=1, world_size=4, attempt=2)

    def build(self, language="c"):
        compiler, standard = {
            "c": ("cc", "-std=gnu11"), "cc": ("c++", "-std=c++11"),
        }[language]
        source = os.path.join(self.folder, "trainer." + language)
        program = os.path.join(self.folder, "trainer")
        with open(source, "w") as file:
            file.write(PROGRAM)
        subprocess.run(
            [shutil.which(compiler), standard, "-O2", "-Wall", "-Wextra",
             "-Werror", "-I", ROOT, "-o", program, source],
            check=True,
        )
        return program

    def run_program(self, program, **environment):
        return subprocess.run(
            [program], check=True, capture_output=True, text=True,
            env=dict(os.environ, **environment),
        ).stdout

    def test_all_that_python_writes(self):
        recorder_file.send_save(self.path, 1, layout.ACTION_SAVE_STOP, 9)
        output = self.run_program(
            self.build(), STEADYRUN_RECORDER=self.path, STEADYRUN_ATTEMPT="2",
            STEADYRUN_RESUME_STEP="0", STEADYRUN_RESUME_PATH="/c/old",
            STEADYRUN_CHECKPOINT_DIR="/c/attempt-2",
        )

        self.assertEqual(
            output,
            "active 1 resume 0 /c/old dir /c/attempt-2\nsaved 9\nstop 9\n",
        )
        reader = Reader(self.path)
        self.assertEqual(reader.writer("steps_written"), 12)
        self.assertEqual(reader.writer("step"), 12)
        self.assertEqual(reader.writer("phase"), layout.PHASES["shutdown"])
        self.assertEqual(reader.writer("finished"), 1)
        self.assertEqual(reader.writer("command_ack_seq"), 1)
        self.assertEqual(reader.writer("errors"), 1)
        record = reader.record(11)
        self.assertEqual(record["seq"], 12)
        self.assertEqual(record["loss"], 12)
        self.assertEqual(record["norm_bits"], layout.ABSENT_BITS)
        self.assertEqual(record["named"], {"kl": 0.25})
        self.assertGreater(record["step_seconds"], 0)
        saved, finished = reader.event(0), reader.event(1)
        self.assertEqual(saved["kind"], layout.EVENT_CHECKPOINT_SAVED)
        self.assertEqual((saved["step"], saved["shards"]), (9, 4))
        self.assertEqual(saved["text"], "/c/rank-1.bin")
        self.assertEqual(finished["kind"], layout.EVENT_FINISHED)
        self.assertEqual((finished["step"], finished["text"]), (12, "abc"))

    def test_it_compiles_as_cxx_and_does_nothing_without_an_agent(self):
        output = self.run_program(
            self.build("cc"), STEADYRUN_RECORDER="", STEADYRUN_ATTEMPT="")

        self.assertIn("active 0 resume -1", output)
        self.assertEqual(Reader(self.path).writer("pid"), 0)

    def test_a_recorder_of_another_attempt_is_left_alone(self):
        output = self.run_program(
            self.build(), STEADYRUN_RECORDER=self.path, STEADYRUN_ATTEMPT="3")

        self.assertIn("active 0", output)
        self.assertEqual(Reader(self.path).writer("pid"), 0)


if __name__ == "__main__":
    unittest.main()
