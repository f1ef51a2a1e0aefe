"""The server is killed at every place of a recovery where it can hurt.

Goal: whatever was committed is gone on with, whatever was not is done again,
and no rank is started twice. Method: a rank is killed, and the server dies by
SIGKILL at one failpoint of the recovery (STEADYRUN_FAILPOINT, first start
only); it comes back after half a second.
"""

import unittest

from report_checks import ReportTest
from scenario import Scenario
from test_faults import fault

PHASES = ("stopping", "verifying", "starting", "running")
MOMENTS = ("before_commit", "after_commit", "after_effects")
# The launch passes verifying, starting and running once; the recovery is the
# second passage. Stopping is entered by it alone.
LAUNCH_PHASES = ("verifying", "starting", "running")


class FailpointTest(ReportTest):
    def check(self, phase, moment):
        hits = 2 if phase in LAUNCH_PHASES else 1
        name = "engine.%s.%s:%d" % (phase, moment, hits)
        with Scenario(
            fault("kill_rank", rank=1),
            server_environment={"STEADYRUN_FAILPOINT": name},
        ) as scenario:
            report = scenario.run()
            self.check_passed(scenario, name)
            if name.startswith("engine.starting.after_effects"):
                self.check_given_up_start(scenario, report)
            else:
                self.check_one_recovery(scenario, report, "crash", rank=1)

    def check_given_up_start(self, scenario, report):
        """As one recovery, or with an attempt more.

        The Start has just left. An agent that has put it on record and finds
        its stream gone before it forks does not carry it out, since commands
        die with their stream; the number is used up, and the next is taken.
        """
        given_up = self.incidents(report, "start_failed")
        if not given_up:
            self.check_one_recovery(scenario, report, "crash", rank=1)
            return
        picture = scenario.picture()
        self.check_completed(scenario, report)
        self.assertEqual(report["attempts"], 3, picture)
        self.assertEqual(len(given_up), 1, picture)
        self.assertIn("the start was recorded", given_up[0]["reason"])
        crash, = self.incidents(report, "crash")
        self.assertEqual(crash["culprit"]["rank"], 1, picture)
        self.assertEqual(crash["state"], "recovered", picture)

    def check_passed(self, scenario, name):
        self.assertEqual(
            scenario.cluster.server.starts, 2,
            "%s was not passed\n%s" % (name, scenario.picture()),
        )

    def check_placing(self, moment):
        """A run stays in placing only while it lacks a node."""
        name = "engine.placing.%s" % moment
        with Scenario(
            fault("kill_node", node=1, seconds=8), spares=0,
            server_environment={"STEADYRUN_FAILPOINT": name},
        ) as scenario:
            report = scenario.run()
            self.check_passed(scenario, name)
            self.check_completed(scenario, report)
            self.assertEqual(report["attempts"], 2, scenario.picture())


def _add_tests():
    for phase in PHASES:
        for moment in MOMENTS:
            def test(self, phase=phase, moment=moment):
                self.check(phase, moment)

            test.__name__ = "test_%s_%s" % (phase, moment)
            setattr(FailpointTest, test.__name__, test)
    for moment in MOMENTS:
        def test_placing(self, moment=moment):
            self.check_placing(moment)

        setattr(FailpointTest, "test_placing_" + moment, test_placing)


_add_tests()

if __name__ == "__main__":
    unittest.main()
