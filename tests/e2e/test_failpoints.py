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

PHASES = ("stopping", "placing", "verifying", "starting", "running")
MOMENTS = ("before_commit", "after_commit", "after_effects")
# At the launch the run passes placing, verifying, starting and running once;
# the recovery is the second passage. Stopping is entered by it alone.
LAUNCH_PHASES = ("placing", "starting", "running")


class FailpointTest(ReportTest):
    def check(self, phase, moment):
        hits = 2 if phase in LAUNCH_PHASES else 1
        name = "engine.%s.%s:%d" % (phase, moment, hits)
        with Scenario(
            fault("kill_rank", rank=1),
            server_environment={"STEADYRUN_FAILPOINT": name},
        ) as scenario:
            report = scenario.run()
            self.check_one_recovery(scenario, report, "crash", rank=1)
            self.assertEqual(
                scenario.cluster.server.starts, 2,
                "%s was not passed\n%s" % (name, scenario.picture()),
            )


def _add_tests():
    for phase in PHASES:
        for moment in MOMENTS:
            def test(self, phase=phase, moment=moment):
                self.check(phase, moment)

            test.__name__ = "test_%s_%s" % (phase, moment)
            setattr(FailpointTest, test.__name__, test)


_add_tests()

if __name__ == "__main__":
    unittest.main()
