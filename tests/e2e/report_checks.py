"""What must hold of every stability report, whatever happened."""

import unittest


class ReportTest(unittest.TestCase):
    """Base of the scenario tests: checks that all of them share."""

    maxDiff = None

    def check_completed(self, scenario, report):
        """All steps done, times that add up, one attempt at a time, and the
        parameters of an unbroken run."""
        picture = scenario.picture()
        self.assertEqual(report["phase"], "completed", picture)
        self.assertEqual(report["steps_completed"], scenario.steps, picture)
        self.assertEqual(scenario.watch.overlaps, [], picture)
        self.assertEqual(scenario.own_ends(), scenario.expected_ends, picture)
        self.check_times(report)
        self.assertEqual(
            report["final_parameters_sha256"], scenario.reference(), picture
        )

    def check_times(self, report):
        lost = sum(report["lost_seconds"].values())
        self.assertAlmostEqual(
            report["productive_seconds"] + lost, report["wall_seconds"],
            delta=0.01 * report["wall_seconds"] + 0.01,
            msg=str(report["lost_seconds"]),
        )
        for seconds in report["lost_seconds"].values():
            self.assertGreaterEqual(seconds, 0)
        self.assertGreater(report["ettr"], 0)
        self.assertLessEqual(report["ettr"], 1)

    def incidents(self, report, *kinds):
        return [
            incident
            for incident in report["incidents"]
            if not kinds or incident["kind"] in kinds
        ]

    def check_undisturbed(self, scenario, report, *allowed):
        """One attempt, and no incident but of the kinds allowed."""
        picture = scenario.picture()
        self.check_completed(scenario, report)
        self.assertEqual(report["attempts"], 1, picture)
        self.assertEqual(
            [incident for incident in report["incidents"]
             if incident["kind"] not in allowed], [], picture)

    def check_one_recovery(self, scenario, report, kind, rank=None, node=None):
        """One incident of that kind and culprit; the second attempt ends the
        run. Returns the incident."""
        picture = scenario.picture()
        self.check_completed(scenario, report)
        self.assertEqual(report["attempts"], 2, picture)
        found = [
            incident for incident in report["incidents"]
            if incident["kind"] == kind
        ]
        self.assertEqual(len(found), 1, picture)
        incident = found[0]
        if rank is not None:
            self.assertEqual(incident["culprit"]["rank"], rank, picture)
        if node is not None:
            self.assertEqual(incident["culprit"]["node"], node, picture)
        self.assertEqual(incident["state"], "recovered", picture)
        self.assertTrue(incident["reason"], picture)
        self.assertTrue(incident["evidence"], picture)
        self.assertGreater(incident["recovery_seconds"], 0)
        return incident
