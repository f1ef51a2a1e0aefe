"""Each kind of fault alone: real programs, real training, real signals.

Goal: for each fault the run ends with all its steps and with the bits of an
unbroken run, the first cause is named, and what need not be acted on is not.
"""

import re
import unittest

from report_checks import ReportTest
from scenario import Scenario


def fault(kind, step=40, **keys):
    lines = ["[[fault]]", "kind = '%s'" % kind, "at_step = %d" % step]
    for key, value in keys.items():
        lines.append("%s = %s" % (key, str(value).lower()))
    return "\n".join(lines) + "\n"


class KillRankTest(ReportTest):
    def test_the_killed_rank_is_named_and_the_run_goes_on(self):
        with Scenario(fault("kill_rank", rank=1)) as scenario:
            report = scenario.run()
            incident = self.check_one_recovery(
                scenario, report, "crash", rank=1, node="node-1"
            )
            self.assertIn("SIGKILL", incident["reason"])
            struck = scenario.injector.strikes[0].struck_unix
            self.assertLess(incident["detected_unix"] - struck, 2.0)


class StopRankTest(ReportTest):
    def test_a_hang_names_the_rank_that_did_not_arrive(self):
        with Scenario(fault("stop_rank", rank=1)) as scenario:
            report = scenario.run()
            incident = self.check_one_recovery(
                scenario, report, "hang", rank=1, node="node-1"
            )
            struck = scenario.injector.strikes[0].struck_unix
            self.assertLess(incident["detected_unix"] - struck, 15.0)


class SpinRankTest(ReportTest):
    def test_of_ranks_that_all_live_the_one_that_did_not_come_is_named(self):
        # Same step, same phase, no process stopped: only the sequence of
        # collectives and the stacks tell the four apart.
        with Scenario(
            fault("spin_rank", rank=3), ranks_per_node=2
        ) as scenario:
            report = scenario.run()
            incident = self.check_one_recovery(
                scenario, report, "hang", rank=3, node="node-1"
            )
            evidence = "\n".join(incident["evidence"])
            entered = re.search(
                r"collective 0:0-3 \(\d+ at step \d+\): ranks 0, 1, 2 have "
                r"entered (\d+), rank 3 has entered (\d+)",
                evidence,
            )
            self.assertIsNotNone(entered, evidence)
            self.assertEqual(int(entered[1]), int(entered[2]) + 1)
            self.assertIn(
                "has not entered collective %s of 0:0-3" % entered[1],
                incident["reason"],
            )
            self.assertRegex(
                evidence, r"stack of rank 3: __call__ \(train_gpt.py:\d+\)"
            )
            self.assertRegex(
                evidence, r"stacks of [23] ranks alike: .*train_gpt.py"
            )


class ExitRankTest(ReportTest):
    def test_the_exception_is_the_reason(self):
        with Scenario(fault("exit_rank", rank=0)) as scenario:
            report = scenario.run()
            incident = self.check_one_recovery(
                scenario, report, "crash", rank=0, node="node-0"
            )
            self.assertIn("injected fault: exit_rank at step 40",
                          incident["reason"])


class NanLossTest(ReportTest):
    def test_the_run_goes_back_to_before_it(self):
        with Scenario(fault("nan_loss", rank=1)) as scenario:
            report = scenario.run()
            incident = self.check_one_recovery(
                scenario, report, "nan", rank=1
            )
            self.assertEqual(incident["step"], 40)
            self.assertEqual(incident["remediation"], "rollback")


class SlowRankTest(ReportTest):
    def test_a_slow_rank_is_not_killed(self):
        # Told, if it lasts: that is what is so. Nothing is done about it.
        script = fault("slow_rank", rank=1, factor=3, seconds=5)
        with Scenario(script, steps=140) as scenario:
            report = scenario.run()
            self.check_undisturbed(
                scenario, report, "straggler", "slowdown"
            )


class KillAgentTest(ReportTest):
    def test_training_goes_on_and_the_new_agent_takes_over(self):
        with Scenario(fault("kill_agent", node=0), steps=160) as scenario:
            scenario.launch()
            scenario.wait_step(30)
            before = {
                rank: process.pid for rank, process in scenario.ranks().items()
            }
            scenario.wait_step(120)
            after = {
                rank: process.pid for rank, process in scenario.ranks().items()
            }
            scenario.wait_phase("completed")

            self.assertEqual(before, after)
            self.assertEqual(scenario.cluster.agents["node-0"].starts, 2)
            self.check_undisturbed(
                scenario, scenario.report(), "agent_lost"
            )

    def test_a_rank_that_died_meanwhile_is_told_by_the_new_agent(self):
        script = fault("kill_agent", node=1, seconds=3) + fault(
            "kill_rank", rank=1, delay=0.5
        )
        with Scenario(script) as scenario:
            report = scenario.run()
            self.check_completed(scenario, report)
            self.assertEqual(report["attempts"], 2, scenario.picture())


class KillNodeTest(ReportTest):
    def test_a_spare_takes_its_place(self):
        with Scenario(fault("kill_node", node=1, seconds=20)) as scenario:
            report = scenario.run()
            incident = self.check_one_recovery(
                scenario, report, "node_lost", node="node-1"
            )
            struck = scenario.injector.strikes[0].struck_unix
            self.assertLess(incident["detected_unix"] - struck, 6.0)
            self.assertEqual(incident["remediation"], "replace_node")


class PauseNodeTest(ReportTest):
    def test_the_zombie_neither_joins_nor_overwrites(self):
        script = fault("pause_node", node=1, seconds=12)
        with Scenario(script, steps=300) as scenario:
            scenario.launch()
            scenario.wait_for(
                "a second attempt", lambda: scenario.clock.attempt == 2
            )
            # The zombie wakes up while attempt 2 trains.
            scenario.wait_for(
                "the end of the zombie's ranks",
                lambda: not [
                    process for process in scenario.cluster.table.scan()
                    if process.is_rank and process.attempt == 1
                ],
            )
            scenario.wait_phase("completed")
            self.check_one_recovery(
                scenario, scenario.report(), "node_lost", node="node-1"
            )


class KillServerTest(ReportTest):
    def test_training_goes_on_and_nothing_is_lost(self):
        script = fault("kill_server", seconds=2)
        with Scenario(script, steps=140) as scenario:
            report = scenario.run()
            self.check_undisturbed(scenario, report)
            self.assertEqual(scenario.stored_steps(), list(range(1, 141)))


class CutAgentTest(ReportTest):
    def test_training_goes_on_without_the_network(self):
        script = fault("cut_agent", node=1, seconds=6)
        with Scenario(script, steps=260) as scenario:
            report = scenario.run()
            self.check_undisturbed(scenario, report, "agent_lost")
            self.assertEqual(scenario.stored_steps(), list(range(1, 261)))


class CorruptCheckpointTest(ReportTest):
    def test_a_damaged_checkpoint_is_told_and_nothing_is_stopped(self):
        # Agents look at their newest shards every five seconds.
        script = fault("corrupt_checkpoint", step=110)
        with Scenario(script, steps=300, checkpoint_every=100) as scenario:
            report = scenario.run()
            self.check_undisturbed(scenario, report, "checkpoint_bad")
            self.assertTrue(
                self.incidents(report, "checkpoint_bad"), scenario.picture()
            )
            self.assertIn("distrusted", [
                checkpoint["state"] for checkpoint in report["checkpoints"]
                if checkpoint["step"] == 100
            ])
            # Another one was ordered at once.
            self.assertTrue([
                checkpoint for checkpoint in report["checkpoints"]
                if 100 < checkpoint["step"] < 300
                and checkpoint["step"] != 200
            ])

    def test_the_next_older_one_is_taken(self):
        script = fault("corrupt_checkpoint", step=44) + fault(
            "kill_rank", step=45, rank=0
        )
        with Scenario(script) as scenario:
            report = scenario.run()
            self.check_completed(scenario, report)
            crash, = self.incidents(report, "crash")
            self.assertGreaterEqual(crash["steps_lost"], 20)


class FillDiskTest(ReportTest):
    def test_a_full_disk_stops_nothing_and_loses_nothing(self):
        script = fault("fill_disk", seconds=4)
        with Scenario(script, steps=200) as scenario:
            report = scenario.run()
            self.check_undisturbed(scenario, report, "storage")
            self.assertEqual(scenario.stored_steps(), list(range(1, 201)))


class NoFaultTest(ReportTest):
    def test_long_phases_and_a_slow_first_step_are_no_incident(self):
        training = [
            "--first-step-seconds", "15", "--checkpoint-seconds", "12",
            "--evaluation-seconds", "12", "--eval-every", "45",
        ]
        with Scenario(training=training, checkpoint_every=50) as scenario:
            report = scenario.run()
            self.check_undisturbed(scenario, report)
            self.assertEqual(report["failures"], 0)


if __name__ == "__main__":
    unittest.main()
