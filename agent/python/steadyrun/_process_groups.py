"""How many collectives each process group of torch.distributed has entered.

torch counts them itself, and reading its number takes no lock that a
collective holds. But gloo counts each send and receive too, and NCCL each
batch of them, so that the members of a pipeline have different numbers while
nothing is wrong. Therefore marks are taken at the end of equal steps. There
the members of a group that made collectives alone have entered equally many,
asynchronous ones too, for they run the same program. The number at the mark is
a part of the group's name, and the service compares no group whose members had
different ones (server/detect/standstills.h).
"""

import sys
import zlib

from steadyrun import _layout as layout

# Ranks that differ are told apart by the first mark; later ones find groups
# that began to send later. A read gives the interpreter's lock away.
MARK_STEPS = 256
_MOST_GROUPS = 64  # Read; a rank of a large model is in some thirty.


def _groups():
    """[(torch's name, group, global ranks)] of this process, in the order in
    which they were made; none where torch.distributed is not in use. Never
    imports it.
    """
    c10d = sys.modules.get("torch.distributed.distributed_c10d")
    # A module that is being imported, for minutes perhaps, lacks things.
    is_initialized = getattr(c10d, "is_initialized", None)
    if is_initialized is None or not is_initialized():
        return []
    # torch 2 keeps them in one object, torch 1 in the module.
    world = getattr(c10d, "_world", None)
    groups = world.pg_map if world is not None else c10d._pg_map
    names = world.pg_names if world is not None else c10d._pg_names
    ranks = (
        world.pg_group_ranks if world is not None else c10d._pg_group_ranks
    )
    found = []
    for group in list(groups)[:_MOST_GROUPS]:
        members = sorted(ranks.get(group) or ())
        if len(members) > 1 and group in names:
            found.append((str(names[group]), group, members))
    return found


def _entered(group):
    """None: this backend does not count."""
    try:
        return int(group._get_sequence_number_for_group())
    except RuntimeError:
        return None


def group_name(name, ranks, mark=""):
    """The same on all members: torch's own name, the global ranks, the mark."""
    parts = []
    for rank in sorted(ranks):
        if parts and rank == parts[-1][1] + 1:
            parts[-1][1] = rank
        else:
            parts.append([rank, rank])
    text = "%s:%s" % (name, ",".join(
        "%d" % first if first == last else "%d-%d" % (first, last)
        for first, last in parts
    ))
    if len(text) + len(mark) >= layout.GROUP_BYTES:
        # Too long for the table: its checksum tells it apart.
        text = "%d ranks %08x" % (len(ranks), zlib.crc32(text.encode()))
    return text + mark


class ProcessGroups:
    """Marks by the training thread; positions by any thread."""

    def __init__(self):
        self._marks = {}  # Of torch's name: (entered, step). Replaced whole.

    def mark(self, step):
        """At the end of `step`; the step from which on to call it again."""
        marks = {}
        for name, group, _ in _groups():
            entered = _entered(group)
            if entered is not None:
                marks[name] = (entered, step)
        self._marks = marks
        return (step // MARK_STEPS + 1) * MARK_STEPS

    def positions(self):
        """[(group, collectives entered)], as many as the recorder holds.

        Those that had entered the most at the mark come first: all members
        choose the same ones.
        """
        marks = self._marks
        found = []
        for name, group, ranks in _groups():
            entered = _entered(group)
            if entered is None:
                continue
            mark = marks.get(name)
            text = "" if mark is None else " (%d at step %d)" % mark
            found.append(
                (mark[0] if mark else 0, group_name(name, ranks, text), entered)
            )
        found.sort(key=lambda item: -item[0])
        return [
            (group, entered)
            for _, group, entered in found[: layout.GROUP_COUNT]
        ]
