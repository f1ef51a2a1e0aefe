"""A flight recorder as the agent would make and read it, for the tests."""

import os
import struct
import sys

ROOT = os.path.abspath(
    os.path.join(os.path.dirname(__file__), "..", "..", "..")
)
sys.path.insert(0, os.path.join(ROOT, "agent", "python"))

from steadyrun import _layout as layout  # noqa: E402


def create(path, rank=0, world_size=1, attempt=1, step_count=8):
    with open(path, "wb") as file:
        file.write(
            layout.HEADER.pack(
                layout.MAGIC, layout.VERSION, step_count, attempt, 99, rank,
                rank, world_size, 0, b"testrun",
            )
        )
        file.truncate(layout.STEPS_OFFSET + step_count * layout.STEP_BYTES)


def send_save(path, seq, action, step):
    with open(path, "r+b") as file:
        file.seek(layout.COMMAND_OFFSET + 8)
        file.write(struct.pack("<IIq", action, 0, step))
        file.seek(layout.COMMAND_OFFSET)
        file.write(struct.pack("<Q", seq))


class Reader:
    """Reads the file with formats of its own, not those of the writer."""

    def __init__(self, path):
        with open(path, "rb") as file:
            self.data = file.read()

    def _get(self, code, at):
        return struct.unpack_from("<" + code, self.data, at)[0]

    def writer(self, field):
        code = {
            "step": "q", "phase": "I", "pid": "I", "names_used": "I",
            "finished": "I",
        }.get(field, "Q")
        return self._get(
            code, layout.WRITER_OFFSET + layout.WRITER_FIELDS[field]
        )

    def names(self):
        return [
            self.data[at : at + 64].split(b"\0")[0].decode()
            for at in range(
                layout.NAMES_OFFSET,
                layout.NAMES_OFFSET + 64 * self.writer("names_used"),
                64,
            )
        ]

    def record(self, number, step_count=8):
        """The fields of step record `number`, counted from 0."""
        at = layout.STEPS_OFFSET + number % step_count * layout.STEP_BYTES
        codes = {
            "seq": "Q", "step": "q", "end_mono_ns": "Q", "end_unix_ns": "Q",
            "named_count": "I",
        }
        found = {
            field: self._get(codes.get(field, "f"), at + offset)
            for field, offset in layout.STEP_FIELDS.items()
            if field not in ("reserved", "named")
        }
        found["loss_bits"] = self._get("I", at + layout.STEP_FIELDS["loss"])
        found["norm_bits"] = self._get(
            "I", at + layout.STEP_FIELDS["grad_norm"]
        )
        names = self.names()
        found["named"] = {
            names[self._get("I", at + 72 + 8 * i)]: self._get(
                "f", at + 76 + 8 * i
            )
            for i in range(found["named_count"])
        }
        return found

    def event(self, number):
        at = layout.EVENTS_OFFSET + number % 64 * layout.EVENT_BYTES
        size = self._get("I", at + 36)
        return {
            "seq": self._get("Q", at),
            "kind": self._get("I", at + 8),
            "shards": self._get("i", at + 12),
            "step": self._get("q", at + 16),
            "seconds": self._get("f", at + 32),
            "text": self.data[at + 40 : at + 40 + size].decode(),
        }
