"""steadyrun/_layout.py says the same as agent/recorder/layout.h."""

import os
import shutil
import subprocess
import tempfile
import unittest

from recorder_file import ROOT, layout

from steadyrun import _environment as environment

HEADER = os.path.join(ROOT, "agent", "recorder", "layout.h")
ENVIRONMENT = os.path.join(ROOT, "agent", "recorder", "environment.h")


def run_c(body):
    """Compiles and runs a C program that includes both headers."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    with tempfile.TemporaryDirectory() as folder:
        source = os.path.join(folder, "print.c")
        with open(source, "w") as file:
            file.write(
                '#include <stddef.h>\n#include <stdio.h>\n#include "%s"\n'
                '#include "%s"\nint main(void) {\n%s\nreturn 0;\n}\n'
                % (HEADER, ENVIRONMENT, body)
            )
        program = os.path.join(folder, "print")
        subprocess.run(
            [compiler, "-std=c11", "-Wall", "-Werror", "-o", program, source],
            check=True,
        )
        output = subprocess.run(
            [program], check=True, capture_output=True, text=True
        ).stdout
    return dict(line.split("=", 1) for line in output.splitlines())


class LayoutTest(unittest.TestCase):
    def compare(self, expected):
        """`expected`: C expression -> the mirror's number."""
        found = run_c("\n".join(
            'printf("%s=%%llu\\n", (unsigned long long)(%s));'
            % (expression, expression)
            for expression in expected
        ))
        self.assertEqual(
            {name: int(number) for name, number in found.items()}, expected
        )

    def test_constants(self):
        self.compare({
            "SRUN_" + c_name: getattr(layout, name)
            for c_name, name in {
                "RECORDER_MAGIC": "MAGIC",
                "RECORDER_VERSION": "VERSION",
                "WRITER_OFFSET": "WRITER_OFFSET",
                "STANDSTILL_OFFSET": "STANDSTILL_OFFSET",
                "GROUP_BYTES": "GROUP_BYTES",
                "GROUP_COUNT": "GROUP_COUNT",
                "FRAME_BYTES": "FRAME_BYTES",
                "FRAME_COUNT": "FRAME_COUNT",
                "COMMAND_OFFSET": "COMMAND_OFFSET",
                "NAMES_OFFSET": "NAMES_OFFSET",
                "NAME_BYTES": "NAME_BYTES",
                "NAME_COUNT": "NAME_COUNT",
                "EVENTS_OFFSET": "EVENTS_OFFSET",
                "EVENT_BYTES": "EVENT_BYTES",
                "EVENT_COUNT": "EVENT_COUNT",
                "STEPS_OFFSET": "STEPS_OFFSET",
                "STEP_BYTES": "STEP_BYTES",
                "STEP_COUNT": "STEP_COUNT",
                "NAMED_PER_STEP": "NAMED_PER_STEP",
                "ABSENT_BITS": "ABSENT_BITS",
                "ACTION_NONE": "ACTION_NONE",
                "ACTION_SAVE": "ACTION_SAVE",
                "ACTION_SAVE_STOP": "ACTION_SAVE_STOP",
                "EVENT_CHECKPOINT_SAVED": "EVENT_CHECKPOINT_SAVED",
                "EVENT_FINISHED": "EVENT_FINISHED",
            }.items()
        })

    def test_sizes(self):
        self.compare({
            "sizeof(struct srun_header)": layout.HEADER.size,
            "sizeof(struct srun_writer)": layout.WRITER_BYTES,
            "sizeof(struct srun_position)": layout.POSITION_BYTES,
            "sizeof(struct srun_standstill)": layout.STANDSTILL_BYTES,
            "sizeof(struct srun_command)": layout.COMMAND_BYTES,
            "sizeof(struct srun_step)": layout.STEP_BYTES,
            "sizeof(struct srun_event)": layout.EVENT_BYTES,
            "sizeof(((struct srun_event*)0)->text)": layout.EVENT_TEXT_BYTES,
            "sizeof(((struct srun_step*)0)->named[0])":
                layout.STEP_NAMED_BYTES,
        })

    def test_offsets(self):
        for name in ("writer", "position", "standstill", "command", "step",
                     "event"):
            fields = getattr(layout, name.upper() + "_FIELDS")
            self.compare({
                "offsetof(struct srun_%s, %s)" % (name, field): offset
                for field, offset in fields.items()
            })

    def test_packed_forms_have_the_offsets(self):
        fixed = layout.struct.calcsize(layout._STEP_SLOT)
        self.assertEqual(fixed, layout.STEP_FIELDS["named"])
        self.assertEqual(
            8 + layout.EVENT_BODY.size, layout.EVENT_FIELDS["text"]
        )

    def test_environment_names(self):
        names = ("RECORDER", "RUN_ID", "ATTEMPT", "CHECKPOINT_DIR",
                 "RESUME_STEP", "RESUME_PATH", "TARGET_STEPS", "SKIP",
                 "LEARNING_RATE_FACTOR", "STANDSTILL")
        found = run_c("\n".join(
            'printf("%s=%%s\\n", SRUN_ENV_%s);' % (name, name)
            for name in names
        ))
        self.assertEqual(
            found, {name: getattr(environment, name) for name in names}
        )


if __name__ == "__main__":
    unittest.main()
