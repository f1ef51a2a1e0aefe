"""What an operator orders: carried out once, with a reason, and audited."""

import unittest

from report_checks import ReportTest
from scenario import RUN, Scenario


class OperatorTest(ReportTest):
    def ledger(self, scenario):
        found = scenario.client.query("checkpoints", RUN) or {}
        return {
            checkpoint["step"]: checkpoint
            for checkpoint in found.get("checkpoints", ())
        }

    def order(self, scenario, *words):
        done = scenario.act(*words)
        self.assertEqual(done.returncode, 0, done.stderr + done.stdout)
        return done

    def test_checkpoint_saves_the_same_step_on_all_ranks(self):
        with Scenario(ranks_per_node=2, checkpoint_every=1000, spares=0,
                      steps=160) as scenario:
            scenario.launch()
            scenario.wait_step(10)
            self.order(scenario, "checkpoint", RUN, "--request-id", "one")
            step = scenario.wait_for(
                "a checkpoint", lambda: next(iter(self.ledger(scenario)), 0)
            )
            again = self.order(
                scenario, "checkpoint", RUN, "--request-id", "one"
            )
            scenario.wait_phase("completed")

            self.assertLess(step, 160)
            self.assertEqual(sorted(self.ledger(scenario)), [step, 160],
                             again.stdout)
            shards = self.ledger(scenario)[step]["shards"]
            self.assertEqual(
                sorted(shard["rank"] for shard in shards), [0, 1, 2, 3]
            )
            self.check_undisturbed(scenario, scenario.report())
            self.check_audit(scenario, "checkpoint", 1)

    def check_audit(self, scenario, action, times):
        entries = scenario.client.query("audit", RUN)["entries"]
        found = [entry for entry in entries if entry["action"] == action]
        self.assertEqual(len(found), times, entries)
        for entry in found:
            self.assertEqual(entry["reason"], "e2e test")
            self.assertTrue(entry["actor"])

    def test_a_reason_is_asked_for(self):
        with Scenario(spares=0, steps=200) as scenario:
            scenario.launch()
            scenario.wait_step(5)
            done = scenario.client.command("stop", RUN)
            self.assertNotEqual(done.returncode, 0)
            self.assertIn("reason", (done.stderr + done.stdout).lower())
            self.assertEqual(scenario.phase(), "running")

    def test_pause_and_resume_change_no_bit(self):
        with Scenario(spares=0, steps=160) as scenario:
            scenario.launch()
            scenario.wait_step(25)
            self.order(scenario, "pause", RUN)
            scenario.wait_phase("paused")
            paused_at = max(self.ledger(scenario))
            self.assertEqual(scenario.ranks(), {}, scenario.picture())
            self.assertGreater(paused_at, 25)
            self.order(scenario, "resume", RUN)
            scenario.wait_phase("completed")
            report = scenario.report()
            self.check_completed(scenario, report)
            self.assertEqual(report["attempts"], 2)
            self.assertEqual(self.incidents(report), [])

    def test_restart_and_rollback(self):
        with Scenario(spares=0, steps=160) as scenario:
            scenario.launch()
            scenario.wait_step(65)
            self.order(scenario, "restart", RUN)
            scenario.wait_for("attempt 2", lambda: scenario.clock.attempt == 2)
            scenario.wait_step(85)
            self.order(scenario, "rollback", RUN, "--to", "40")
            scenario.wait_for("attempt 3", lambda: scenario.clock.attempt == 3)
            self.assertEqual(scenario.clock.resumed_at, 40)
            scenario.wait_phase("completed")
            self.check_completed(scenario, scenario.report())
            self.check_audit(scenario, "restart", 1)
            self.check_audit(scenario, "rollback to step 40", 1)

    def test_rollback_to_what_is_not_there_is_refused(self):
        with Scenario(spares=0, steps=120) as scenario:
            scenario.launch()
            scenario.wait_step(45)
            done = scenario.act("rollback", RUN, "--to", "33")
            self.assertNotEqual(done.returncode, 0)
            self.assertIn("33", done.stderr + done.stdout)
            scenario.wait_phase("completed")
            self.check_undisturbed(scenario, scenario.report())

    def test_a_held_run_waits_for_its_release(self):
        with Scenario(spares=0, steps=160) as scenario:
            scenario.launch()
            scenario.wait_step(45)
            self.order(scenario, "hold", RUN, "--request-id", "hold-1")
            scenario.kill_rank(1)
            scenario.wait_for(
                "a fault that waits",
                lambda: any(
                    incident["remediation"] == "held"
                    for incident in self.open_incidents(scenario)
                ),
            )
            # Nor does the next life of the service answer it.
            scenario.cluster.server.kill(down_seconds=0)
            scenario.wait_for(
                "the server again, which has seen the fault",
                lambda: "waits" in scenario.view().get("verdict", ""),
            )
            self.assertEqual(scenario.clock.attempt, 1)
            self.assertTrue(scenario.view()["is_held"])
            done = scenario.act("restart", RUN)
            self.assertNotEqual(done.returncode, 0)
            self.assertIn("unhold", done.stderr + done.stdout)

            self.order(scenario, "unhold", RUN)
            scenario.wait_phase("completed")
            report = scenario.report()
            self.check_completed(scenario, report)
            self.assertEqual(report["attempts"], 2)
            self.assertGreater(report["lost_seconds"]["held"], 0)
            self.check_audit(scenario, "hold", 1)
            self.check_audit(scenario, "unhold", 1)

    def open_incidents(self, scenario):
        found = scenario.client.query("incidents", RUN) or {}
        return [
            incident for incident in found.get("incidents", ())
            if incident["state"] == "open"
        ]

    def test_stop_ends_the_run_for_good(self):
        with Scenario(spares=0, steps=2000) as scenario:
            scenario.launch()
            scenario.wait_step(10)
            self.order(scenario, "stop", RUN, "--request-id", "stop-1")
            scenario.wait_phase("stopped")
            self.order(scenario, "stop", RUN, "--request-id", "stop-1")
            self.assertEqual(scenario.ranks(), {}, scenario.picture())
            done = scenario.act("resume", RUN)
            self.assertNotEqual(done.returncode, 0)
            self.check_audit(scenario, "stop", 1)


if __name__ == "__main__":
    unittest.main()
