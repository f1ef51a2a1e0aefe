"""Several faults at once, faults during a recovery, and faults that repeat."""

import unittest

from report_checks import ReportTest
from scenario import Scenario
from test_faults import fault


class TogetherTest(ReportTest):
    def test_two_ranks_of_four_die_at_once(self):
        script = fault("kill_rank", rank=1) + fault("kill_rank", rank=2)
        with Scenario(script, ranks_per_node=2) as scenario:
            report = scenario.run()
            self.check_completed(scenario, report)
            # Killed on two nodes: neither can be the other's cause.
            self.assertLessEqual(
                {crash["culprit"]["rank"]
                 for crash in self.incidents(report, "crash")}, {1, 2},
                scenario.picture())
            self.assertTrue(self.incidents(report, "crash"))

    def test_rank_agent_and_server_die_at_once(self):
        script = (fault("kill_rank", rank=0) + fault("kill_agent", node=1)
                  + fault("kill_server", seconds=1))
        with Scenario(script) as scenario:
            report = scenario.run()
            self.check_completed(scenario, report)
            self.assertTrue(self.incidents(report, "crash"))

    def test_a_node_is_lost_while_the_server_is_away(self):
        script = (fault("kill_server", seconds=3)
                  + fault("kill_node", node=1, delay=0.5))
        with Scenario(script) as scenario:
            report = scenario.run()
            self.check_completed(scenario, report)

    def test_nan_and_a_dead_rank_together(self):
        script = fault("nan_loss", rank=0) + fault("kill_rank", rank=1)
        with Scenario(script) as scenario:
            report = scenario.run()
            self.check_completed(scenario, report)


class DuringRecoveryTest(ReportTest):
    def test_a_node_is_lost_during_the_recovery_from_a_crash(self):
        script = (fault("kill_rank", rank=0)
                  + fault("kill_node", node=1, delay=0.3, seconds=20))
        with Scenario(script) as scenario:
            report = scenario.run()
            self.check_completed(scenario, report)

    def test_the_new_attempt_is_killed_while_it_starts(self):
        with Scenario(fault("kill_rank", rank=0)) as scenario:
            scenario.launch()
            scenario.wait_for(
                "ranks of attempt 2",
                lambda: any(
                    process.attempt == 2
                    for process in scenario.ranks().values()
                ),
            )
            scenario.kill_rank(1)
            scenario.wait_phase("completed")
            report = scenario.report()
            self.check_completed(scenario, report)
            self.assertEqual(report["attempts"], 3)

    def test_the_server_dies_during_the_recovery(self):
        script = (fault("kill_rank", rank=1)
                  + fault("kill_server", delay=0.1, seconds=1))
        with Scenario(script) as scenario:
            report = scenario.run()
            self.check_completed(scenario, report)

    def test_an_agent_is_cut_off_during_the_recovery(self):
        script = (fault("kill_rank", rank=0)
                  + fault("cut_agent", node=1, delay=0.1, seconds=10))
        with Scenario(script, steps=160) as scenario:
            report = scenario.run()
            self.check_completed(scenario, report)


class RepeatTest(ReportTest):
    def check_halted(self, scenario, report, seconds=120):
        picture = scenario.picture()
        self.assertEqual(report["phase"], "halted", picture)
        self.assertEqual(scenario.watch.overlaps, [], picture)
        self.assertEqual(scenario.own_ends(), {}, picture)
        self.assertLessEqual(report["attempts"], 4, picture)
        self.assertTrue(scenario.view()["phase_reason"], picture)
        self.assertFalse(scenario.ranks(), picture)

    def test_an_exception_at_the_same_step_halts(self):
        script = fault("exit_rank", step=30, rank=1, repeat=True)
        with Scenario(script) as scenario:
            report = scenario.run()
            self.check_halted(scenario, report)
            self.assertIn("same step", scenario.view()["phase_reason"])

    def test_nan_that_comes_back_halts(self):
        script = fault("nan_loss", step=50, rank=0, repeat=True)
        with Scenario(script) as scenario:
            report = scenario.run()
            self.check_halted(scenario, report)

    def test_a_halted_run_is_resumed_by_an_operator_only(self):
        script = fault("exit_rank", step=30, rank=1, repeat=True)
        with Scenario(script) as scenario:
            scenario.launch()
            scenario.wait_phase("halted")
            for path in scenario.fault_paths():
                path.unlink()
            done = scenario.act("resume", "e2e")
            self.assertEqual(done.returncode, 0, done.stderr)
            scenario.wait_phase("completed")
            self.check_completed(scenario, scenario.report())


if __name__ == "__main__":
    unittest.main()
