"""The flight recorder's layout: mirrors agent/recorder/layout.h.

That header is the definition; tests/unit/python compiles a C program from it
and compares every number below.
"""

import struct

MAGIC = 0x3143455252555253
VERSION = 1
WRITER_OFFSET = 4096
STANDSTILL_OFFSET = 5120
GROUP_BYTES = 56
GROUP_COUNT = 8
FRAME_BYTES = 144
FRAME_COUNT = 16
COMMAND_OFFSET = 8192
NAMES_OFFSET = 12288
NAME_BYTES = 64
NAME_COUNT = 64
EVENTS_OFFSET = 16384
EVENT_BYTES = 1024
EVENT_COUNT = 64
STEPS_OFFSET = 81920
STEP_BYTES = 256
STEP_COUNT = 1024
NAMED_PER_STEP = 20
ABSENT_BITS = 0x7FC0DEAD

ACTION_NONE = 0
ACTION_SAVE = 1
ACTION_SAVE_STOP = 2

EVENT_CHECKPOINT_SAVED = 1
EVENT_FINISHED = 2

# struct srun_header
HEADER = struct.Struct("<QIIqQiiii72s")

# struct srun_writer: offset of each field from WRITER_OFFSET.
WRITER_FIELDS = {
    "steps_written": 0,
    "events_written": 8,
    "step": 16,
    "progress_mono_ns": 24,
    "phase": 32,
    "pid": 36,
    "phase_mono_ns": 40,
    "phase_seq": 48,
    "command_ack_seq": 56,
    "errors": 64,
    "names_used": 72,
    "finished": 76,
}
WRITER_BYTES = 80

# struct srun_position
POSITION_FIELDS = {"entered": 0, "group": 8}
POSITION_BYTES = 64

# struct srun_standstill
STANDSTILL_FIELDS = {
    "seq": 0,
    "mono_ns": 8,
    "frames": 16,
    "groups_used": 20,
    "positions": 24,
    "stack": 536,
}
STANDSTILL_BYTES = 2840

# struct srun_command
COMMAND_FIELDS = {
    "seq": 0,
    "action": 8,
    "reserved": 12,
    "step": 16,
    "agent_mono_ns": 24,
}
COMMAND_BYTES = 32

# struct srun_step
STEP_FIELDS = {
    "seq": 0,
    "step": 8,
    "end_mono_ns": 16,
    "end_unix_ns": 24,
    "step_seconds": 32,
    "loss": 36,
    "grad_norm": 40,
    "tokens": 44,
    "compute_seconds": 48,
    "learning_rate": 52,
    "loss_scale": 56,
    "data_seconds": 60,
    "named_count": 64,
    "reserved": 68,
    "named": 72,
}
STEP_NAMED_BYTES = 8

# struct srun_event
EVENT_FIELDS = {
    "seq": 0,
    "kind": 8,
    "shards": 12,
    "step": 16,
    "unix_ns": 24,
    "seconds": 32,
    "text_bytes": 36,
    "text": 40,
}
EVENT_TEXT_BYTES = 984

# A step record with `named` entries of (index, value) after its fixed part.
_STEP_SLOT = "=QqQQ8fII"


def step_slot(named):
    """The precompiled writer of a step record with so many named metrics."""
    return struct.Struct(_STEP_SLOT + "If" * named).pack_into


EVENT_BODY = struct.Struct("=IiqQfI")

# enum Phase of proto/steadyrun/v1/model.proto
PHASES = {
    "startup": 1,
    "step": 2,
    "data": 3,
    "forward": 4,
    "backward": 5,
    "optimizer": 6,
    "checkpoint": 7,
    "evaluation": 8,
    "compile": 9,
    "rollout": 10,
    "reward": 11,
    "reference": 12,
    "weight_sync": 13,
    "shutdown": 14,
    "other": 15,
}
