"""What is read of torch.distributed, without it: its names as torch has them."""

import sys
import types
import unittest
from unittest import mock

import recorder_file  # noqa: F401  Finds the library.
from recorder_file import layout

from steadyrun import _process_groups
from steadyrun._process_groups import ProcessGroups, group_name

MODULE = "torch.distributed.distributed_c10d"


class Group:
    def __init__(self, entered):
        self.entered = entered

    def _get_sequence_number_for_group(self):
        if self.entered is None:
            raise RuntimeError("no support for sequence numbers")
        return self.entered


class Torch:
    """One process: {torch's name: (its group, global ranks)}."""

    def __init__(self, **groups):
        self.groups = groups

    def tables(self):
        pairs = [(name, *pair) for name, pair in self.groups.items()]
        return {
            "pg_map": {group: None for _, group, _ in pairs},
            "pg_names": {group: name for name, group, _ in pairs},
            "pg_group_ranks": {
                group: {rank: i for i, rank in enumerate(ranks)}
                for _, group, ranks in pairs
            },
        }

    def module(self, version=2, is_initialized=True):
        tables = self.tables()
        told = {"is_initialized": lambda: is_initialized}
        if version == 2:
            told["_world"] = types.SimpleNamespace(**tables)
        else:
            told.update({"_" + name: table for name, table in tables.items()})
        return mock.patch.dict(
            sys.modules, {MODULE: types.SimpleNamespace(**told)}
        )


class ProcessGroupsTest(unittest.TestCase):
    def test_both_versions_of_torch(self):
        torch = Torch(
            a=(Group(812), [5, 0, 1]), silent=(Group(None), [0, 1]),
            alone=(Group(3), [0]), b=(Group(0), [0, 5]),
        )
        for version in (1, 2):
            with torch.module(version):
                self.assertEqual(
                    ProcessGroups().positions(),
                    [("a:0-1,5", 812), ("b:0,5", 0)],
                )

    def test_nothing_where_it_is_not_in_use(self):
        with mock.patch.dict(sys.modules):
            sys.modules.pop(MODULE, None)
            self.assertEqual(ProcessGroups().positions(), [])
            self.assertNotIn(MODULE, sys.modules)
        half_imported = types.ModuleType(MODULE)
        with mock.patch.dict(sys.modules, {MODULE: half_imported}):
            self.assertEqual(ProcessGroups().positions(), [])
        with Torch(a=(Group(1), [0, 1])).module(is_initialized=False):
            self.assertEqual(ProcessGroups().positions(), [])

    def test_who_sent_between_two_is_not_compared(self):
        # gloo counts what 0 sent to 1; 2 has no part in it.
        names = []
        for first, later in ((12, 20), (12, 19), (10, 18)):
            group = Group(first)
            with Torch(world=(group, [0, 1, 2])).module():
                groups = ProcessGroups()
                groups.mark(1)
                group.entered = later
                names.append(groups.positions())
        self.assertEqual(names[0], [("world:0-2 (12 at step 1)", 20)])
        self.assertEqual(names[1], [("world:0-2 (12 at step 1)", 19)])
        self.assertEqual(names[2], [("world:0-2 (10 at step 1)", 18)])

    def test_marks_are_taken_at_equal_steps(self):
        groups = ProcessGroups()
        self.assertEqual(groups.mark(1), 256)
        self.assertEqual(groups.mark(256), 512)
        self.assertEqual(groups.mark(100_000), 100_096)

    def test_the_busiest_groups_are_told_of_all(self):
        made = {"g%d" % n: (Group(n), [0, 1]) for n in range(20)}
        with Torch(**made).module():
            groups = ProcessGroups()
            groups.mark(1)
            made["g0"][0].entered = 1000  # Chosen by the mark, on all alike.
            told = groups.positions()
        self.assertEqual(
            [name.split(":")[0] for name, _ in told],
            ["g%d" % n for n in range(19, 11, -1)],
        )
        self.assertEqual(len(told), layout.GROUP_COUNT)

    def test_a_group_that_is_gone_meanwhile(self):
        module = Torch(a=(Group(1), [0, 1]), b=(Group(2), [0, 1]))
        tables = module.tables()
        tables["pg_names"].popitem()
        tables["pg_group_ranks"].clear()
        told = types.SimpleNamespace(
            is_initialized=lambda: True,
            _world=types.SimpleNamespace(**tables),
        )
        with mock.patch.dict(sys.modules, {MODULE: told}):
            self.assertEqual(_process_groups._groups(), [])

    def test_names_that_are_too_long_stay_different(self):
        mark = " (51200 at step 256)"
        even = group_name("7", range(0, 200, 2), mark)
        odd = group_name("7", range(1, 200, 2), mark)
        other = group_name("8", range(0, 200, 2), mark)

        self.assertRegex(
            even, r"^100 ranks [0-9a-f]{8} \(51200 at step 256\)$"
        )
        self.assertEqual(len({even, odd, other}), 3)
        longest = group_name(
            "f" * 40, range(0, 200_000, 2),
            " (%d at step %d)" % (2**32 - 1, 10**9),
        )
        self.assertLess(len(longest), layout.GROUP_BYTES)


if __name__ == "__main__":
    unittest.main()
