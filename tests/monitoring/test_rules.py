"""Rules, dashboards and pages, without a running service."""

import json
import pathlib
import re
import shutil
import subprocess
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROMETHEUS = ROOT / "dashboards" / "prometheus"
GRAFANA = ROOT / "dashboards" / "grafana"
ALERT = re.compile(r"^ *- alert: (\w+)$", re.M)
METRIC = re.compile(r"\b(?:steadyrun|process)_[a-z0-9_]+")
# Ids of Grafana's units that are in use here.
UNITS = {"short", "s", "bytes", "percentunit", "reqps"}


def rules():
    return (PROMETHEUS / "steadyrun.rules.yml").read_text()


@unittest.skipUnless(shutil.which("promtool"),
                     "promtool is missing: deploy/install-packages.sh "
                     "monitoring")
class PromtoolTest(unittest.TestCase):
    def promtool(self, *words):
        done = subprocess.run(
            ["promtool", *words], cwd=PROMETHEUS, capture_output=True,
            text=True, timeout=60,
        )
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_the_rules_are_well_formed(self):
        self.promtool("check", "rules", "--lint-fatal", "steadyrun.rules.yml")

    def test_the_rules_fire_on_their_symptoms_and_not_beside_them(self):
        self.promtool("test", "rules", "steadyrun.rules.test.yml")

    def test_the_example_configuration_is_valid(self):
        self.promtool("check", "config", "prometheus.example.yml")


class AlertPagesTest(unittest.TestCase):
    def test_each_alert_has_a_page_and_each_page_an_alert(self):
        alerts = set(ALERT.findall(rules()))
        pages = {page.stem for page in
                 (ROOT / "docs/runbooks/alerts").glob("*.md")}
        self.assertEqual(alerts, pages)
        for alert in alerts:
            self.assertTrue(alert.startswith("Steadyrun"), alert)
            self.assertIn("/runbooks/alerts/%s.md\n" % alert, rules())

    def test_each_alert_is_tested(self):
        tests = (PROMETHEUS / "steadyrun.rules.test.yml").read_text()
        for alert in ALERT.findall(rules()):
            # Once quiet and once firing, or more.
            self.assertIn("alertname: %s\n        exp_alerts" % alert, tests)

    def test_summaries_are_fixed_sentences(self):
        for line in rules().splitlines():
            if line.strip().startswith("summary:"):
                self.assertTrue(line.endswith("."), line)
                self.assertNotIn("{{", line)


class GrafanaTest(unittest.TestCase):
    """The dashboard linter's rules, as far as they can be checked here."""

    def dashboards(self):
        paths = sorted((GRAFANA / "dashboards").glob("*.json"))
        self.assertEqual(len(paths), 4)
        return [(path.name, json.loads(path.read_text())) for path in paths]

    def each_panel(self):
        for name, dashboard in self.dashboards():
            for panel in dashboard["panels"]:
                yield "%s: %s" % (name, panel.get("title")), dashboard, panel

    def test_dashboards_are_stable_and_uneditable(self):
        uids = [dashboard["uid"] for _, dashboard in self.dashboards()]
        self.assertEqual(len(set(uids)), len(uids))
        for name, dashboard in self.dashboards():
            self.assertNotIn("id", dashboard, name)
            self.assertFalse(dashboard["editable"], name)
            self.assertEqual(dashboard["schemaVersion"], 38, name)
            self.assertTrue(dashboard["title"].startswith("Steadyrun / "))
            self.assertTrue(dashboard["description"], name)

    def test_variables_choose_source_job_and_instance(self):
        for name, dashboard in self.dashboards():
            variables = {
                one["name"]: one for one in dashboard["templating"]["list"]
            }
            source = variables["datasource"]
            self.assertEqual(source["type"], "datasource", name)
            self.assertEqual(source["query"], "prometheus", name)
            for one in ("job", "instance"):
                self.assertTrue(variables[one]["multi"], name)
                self.assertEqual(variables[one]["allValue"], ".+", name)
            for variable in variables.values():
                if variable["type"] != "query":
                    continue
                # On time range change; from the chosen source.
                self.assertEqual(variable["refresh"], 2, name)
                self.assertEqual(
                    variable["datasource"]["uid"], "${datasource}", name
                )

    def test_panels_say_what_they_show(self):
        for where, dashboard, panel in self.each_panel():
            self.assertTrue(panel.get("title"), where)
            self.assertTrue(panel.get("description"), where)
            self.assertIn(panel["fieldConfig"]["defaults"]["unit"], UNITS,
                          where)
            self.assertEqual(panel["datasource"]["uid"], "${datasource}",
                             where)
            self.assertTrue(panel["targets"], where)
            ids = [target["refId"] for target in panel["targets"]]
            self.assertEqual(len(set(ids)), len(ids), where)

    def test_panels_have_ids_of_their_own_and_do_not_overlap(self):
        for name, dashboard in self.dashboards():
            ids = [panel["id"] for panel in dashboard["panels"]]
            self.assertEqual(len(set(ids)), len(ids), name)
            taken = set()
            for panel in dashboard["panels"]:
                at = panel["gridPos"]
                self.assertLessEqual(at["x"] + at["w"], 24, name)
                cells = {
                    (x, y)
                    for x in range(at["x"], at["x"] + at["w"])
                    for y in range(at["y"], at["y"] + at["h"])
                }
                self.assertFalse(cells & taken, (name, panel["title"]))
                taken |= cells

    def test_queries_keep_to_the_chosen_target(self):
        for where, dashboard, panel in self.each_panel():
            for target in panel["targets"]:
                expr = target["expr"]
                selectors = len(METRIC.findall(expr))
                self.assertGreater(selectors, 0, where)
                for matcher in ('job=~"$job"', 'instance=~"$instance"'):
                    self.assertEqual(expr.count(matcher), selectors,
                                     (where, expr))

    def test_rates_follow_the_scrape_interval(self):
        for where, _, panel in self.each_panel():
            for target in panel["targets"]:
                for spoken in re.findall(r"i?rate\([^\[]*\[([^\]]+)\]",
                                         target["expr"]):
                    # An hour is what the panel's title says.
                    self.assertIn(spoken, ("$__rate_interval", "1h"), where)

    def test_counters_are_not_shown_raw(self):
        for where, _, panel in self.each_panel():
            for target in panel["targets"]:
                for name in re.findall(r"\w+_total\b", target["expr"]):
                    self.assertRegex(
                        target["expr"], r"(rate|increase)\(" + name, where
                    )

    def test_provisioning_names_what_is_shipped(self):
        text = (GRAFANA / "provisioning/dashboards/steadyrun.yml").read_text()
        self.assertIn("allowUiUpdates: false", text)
        self.assertTrue(
            (GRAFANA / "provisioning/datasources/prometheus.yml").exists()
        )


if __name__ == "__main__":
    unittest.main()
