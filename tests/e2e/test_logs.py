"""A training code that is not changed at all: watched by what it prints."""

import os
import pathlib
import signal
import sys
import unittest

from scenario import ENDED, RUN, Scenario

PLAIN = os.path.join(os.path.dirname(os.path.abspath(__file__)),
                     "plain_training.py")
STEPS = 80


class LogsTest(unittest.TestCase):
    def launch(self, scenario, style, log_format="auto", extra=(),
               training=(), step_seconds=0.15):
        scenario.cluster.wait_ready(
            lambda: scenario.client.nodes_connected()
            >= scenario.expected_agents
        )
        home = os.path.join(scenario.work_dir, "training")
        os.makedirs(home)
        done = scenario.client.command(
            "run", "--name", RUN, "--nodes", "2", "--ranks-per-node", "1",
            "--steps", str(scenario.steps), "--log-format", log_format, *extra,
            "--", sys.executable, PLAIN, "--style", style,
            "--steps", str(scenario.steps), "--step-seconds",
            str(step_seconds), "--directory", home, *training,
        )
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def metric(self, scenario, name):
        found = scenario.client.get(
            "api/v1/runs/%s/metric?name=%s" % (RUN, name.replace("/", "%2F"))
        )
        return found or {}

    def step(self, scenario):
        return int(scenario.view().get("step", -1))

    def wait_stored(self, scenario, missing=()):
        """Each step has a row, but for `missing`, which may; the last ones
        wait a second for the rank that tells nothing."""
        steps = set(range(1, STEPS + 1))
        scenario.wait_for(
            "all steps in the database",
            lambda: steps - set(scenario.stored_steps()) <= set(missing),
            10,
        )

    def crash_and_end(self, scenario):
        """Kills rank 0 in mid-run; the run's report."""
        scenario.wait_for("step 25", lambda: self.step(scenario) >= 25)
        scenario.ranks()[0].send(signal.SIGKILL)
        scenario.wait_for(
            "a second attempt",
            lambda: int(scenario.view().get("attempt", 0)) >= 2,
        )
        scenario.wait_phase(*ENDED)
        return scenario.report()

    def check(self, scenario, report, style_format, metric):
        picture = scenario.picture()
        self.assertEqual(report["phase"], "completed", picture)
        self.assertEqual(report["attempts"], 2, picture)
        kinds = [incident["kind"] for incident in report["incidents"]]
        self.assertEqual(kinds, ["crash"], picture)
        self.assertEqual(scenario.watch.overlaps, [], picture)
        view = scenario.view()
        self.assertEqual(int(view["max_step"]), STEPS, picture)
        self.assertLess(abs(float(view["loss"])), 5, picture)
        agent_logs = "".join(
            pathlib.Path(agent.log_path).read_text()
            for agent in scenario.cluster.agents.values()
        )
        self.assertIn("read as " + style_format, agent_logs)
        names = scenario.client.get("api/v1/runs/%s/metrics" % RUN)["names"]
        self.assertIn(metric, names)
        values = [
            value
            for value in self.metric(scenario, metric)["mean"]
            if isinstance(value, (int, float))
        ]
        # It learns: the score at the end is that of the right answer.
        self.assertGreater(values[-1], values[0] + 0.3, values)

    def test_verl_is_told_by_itself_and_a_crash_is_resumed(self):
        with Scenario(spares=0, steps=STEPS) as scenario:
            self.launch(scenario, "verl")
            report = self.crash_and_end(scenario)
            self.check(scenario, report, "verl", "critic/score/mean")
            self.wait_stored(scenario)

    def test_trl_is_counted_by_its_progress_bar(self):
        with Scenario(spares=0, steps=STEPS) as scenario:
            self.launch(scenario, "trl")
            report = self.crash_and_end(scenario)
            self.check(scenario, report, "hf", "reward")

    def test_mindspeed_rl_prints_to_the_other_stream(self):
        with Scenario(spares=0, steps=STEPS) as scenario:
            self.launch(scenario, "mindspeed", "mindspeed")
            scenario.wait_phase(*ENDED)
            self.assertEqual(scenario.phase(), "completed", scenario.picture())
            self.assertGreater(
                len(self.metric(scenario, "grpo/score/mean")["mean"]), 1)

    def test_a_detector_of_rl_sees_what_is_printed(self):
        with Scenario(spares=0, steps=400) as scenario:
            self.launch(scenario, "verl", step_seconds=0.04,
                        training=("--rate", "0.05",
                                  "--wrong-sign-at", "280"))
            scenario.wait_phase(*ENDED)
            report = scenario.report()
            kinds = [incident["kind"] for incident in report["incidents"]]
            self.assertIn("reward_collapse", kinds, scenario.picture())

    def test_csv_files_are_read_beside_the_loop(self):
        with Scenario(spares=0, steps=STEPS) as scenario:
            home = os.path.join(scenario.work_dir, "training")
            self.launch(scenario, "csv", "deepspeed-csv",
                        ("--log-path", home))
            report = self.crash_and_end(scenario)
            self.assertEqual(report["phase"], "completed", scenario.picture())
            # What the files told last before the crash comes after the fence.
            self.wait_stored(scenario, missing=range(26, 60))
            values = self.metric(scenario, "reward")["mean"]
            self.assertGreater(values[-1], values[0] + 0.3, values)

    def test_a_restarted_agent_reads_on(self):
        with Scenario(spares=0, steps=STEPS) as scenario:
            self.launch(scenario, "verl")
            scenario.wait_for("step 10", lambda: self.step(scenario) >= 10)
            scenario.cluster.agents["node-0"].kill(1)
            scenario.wait_phase(*ENDED)
            report = scenario.report()
            self.assertEqual(report["phase"], "completed", scenario.picture())
            self.assertEqual(report["attempts"], 1, scenario.picture())
            self.wait_stored(scenario)

    def test_an_unknown_format_is_refused_with_the_list(self):
        with Scenario(spares=0, steps=STEPS) as scenario:
            done = scenario.client.command(
                "run", "--name", RUN, "--log-format", "vrel", "--", "true")
            self.assertNotEqual(done.returncode, 0)
            self.assertIn("verl", done.stderr + done.stdout)
            self.assertIn("auto", done.stderr + done.stdout)


if __name__ == "__main__":
    unittest.main()
