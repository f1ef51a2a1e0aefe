"""The real Prometheus, Alertmanager, promtool, amtool and grpcio.

One stack for all tests of the file: a run that makes steps, whose rank is
killed, and that comes back.
"""

import http.client
import json
import re
import shutil
import socket
import subprocess
import sys
import time
import unittest
import urllib.parse

from stack import BIN, ROOT, Stack, get, get_json, wait_for
from test_rules import METRIC

NEEDED = ("prometheus", "prometheus-alertmanager", "promtool", "amtool")
MISSING = [name for name in NEEDED if not shutil.which(name)]
RUN = "gpt"

CONFIG = """
[notify]
group_wait = "100ms"
[notify.alertmanager]
url = "http://127.0.0.1:{alertmanager}"
interval = "1s"
[notify.webhook]
url = "{receiver}/webhook"
secret_file = "{secret}"
[notify.slack]
url = "{receiver}/slack"
[notify.pagerduty]
routing_key_file = "{secret}"
url = "{receiver}/pagerduty"
[notify.dead_man]
url = "{receiver}/dead_man"
interval = "500ms"
"""

PROMETHEUS = """
global: {{scrape_interval: 1s, evaluation_interval: 1s}}
rule_files: ["{rules}"]
scrape_configs:
  - job_name: steadyrun
    sample_limit: 10000
    static_configs: [{{targets: ["{target}"], labels: {{cluster: c}}}}]
  - job_name: steadyrun-agent
    sample_limit: 64
    http_sd_configs:
      - {{url: "http://{target}/api/v1/sd/agents", refresh_interval: 1s}}
"""


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def grpc_python():
    """A Python that has grpcio: this one or Debian's."""
    for python in (sys.executable, "/usr/bin/python3"):
        if subprocess.run(
            [python, "-c", "import grpc, google.protobuf"],
            capture_output=True,
        ).returncode == 0:
            return python
    return None


@unittest.skipIf(MISSING, "missing: %s; deploy/install-packages.sh monitoring"
                 % ", ".join(MISSING))
class StackTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.stack = stack = Stack()
        try:
            cls.bring_up(stack)
        except BaseException:
            for log in ("server.log", "agent.log", "prometheus.log",
                        "alertmanager.log"):
                sys.stderr.write("%s:\n%s\n" % (log, stack.log(log)[-3000:]))
            stack.close()
            raise

    @classmethod
    def bring_up(cls, stack):
        (stack.work / "secret").write_text("s3cret\n")
        cls.alertmanager_port = free_port()
        cls.config = CONFIG.format(
            alertmanager=cls.alertmanager_port, receiver=stack.receiver.url,
            secret=stack.work / "secret",
        )
        stack.start_server(cls.config)
        # One for the run, one for those that cannot start.
        stack.start_agent("node-0")
        stack.start_agent("node-1")
        (stack.work / "policy.toml").write_text(
            "[incident.crash]\nladder = [\"halt\"]\n"
            "[incident.start_failed]\nladder = [\"halt\"]\n"
        )
        (stack.work / "observe.toml").write_text(
            "[incident.crash]\nmode = \"observe\"\n"
        )
        (stack.work / "alertmanager.yml").write_text(
            "route: {receiver: back, group_wait: 100ms, group_interval: 1s}\n"
            "receivers: [{name: back, webhook_configs: [{url: "
            "'%s/api/v1/hooks/alertmanager'}]}]\n" % stack.http
        )
        cls.alertmanager = "http://127.0.0.1:%d" % cls.alertmanager_port
        stack.start(
            "prometheus-alertmanager",
            "--config.file=%s" % (stack.work / "alertmanager.yml"),
            "--storage.path=%s" % (stack.work / "am"),
            "--web.listen-address=127.0.0.1:%d" % cls.alertmanager_port,
            "--cluster.listen-address=", log="alertmanager.log",
        )
        cls.start_prometheus(stack)
        stack.launch(RUN, sys.executable, "--env", "STEADYRUN_PAGE=1")
        wait_for("a verified checkpoint",
                 lambda: stack.run_view(RUN).get("checkpoint_step", -1) in
                 ("50", "100", "150", 50, 100, 150))
        assert stack.kill_rank()
        wait_for("an incident that is recovered", lambda: [
            one for one in (get_json(
                stack.http + "/api/v1/incidents") or {}).get("incidents", ())
            if one["state"] == "recovered"
        ])

    @classmethod
    def start_prometheus(cls, stack):
        # The shipped rules, with waits of a test.
        rules = (ROOT / "dashboards/prometheus/steadyrun.rules.yml").read_text()
        rules = re.sub(r"for: \d+m", "for: 1s", rules)
        (stack.work / "rules.yml").write_text(rules)
        (stack.work / "prometheus.yml").write_text(PROMETHEUS.format(
            rules=stack.work / "rules.yml",
            target=stack.http[len("http://"):],
        ))
        port = free_port()
        cls.prometheus = "http://127.0.0.1:%d" % port
        stack.start(
            "prometheus", "--config.file=%s" % (stack.work / "prometheus.yml"),
            "--storage.tsdb.path=%s" % (stack.work / "tsdb"),
            "--web.listen-address=127.0.0.1:%d" % port, log="prometheus.log",
        )

    @classmethod
    def tearDownClass(cls):
        cls.stack.close()

    def scrape(self):
        return get(self.stack.http + "/metrics")

    # --- What is exposed.

    def test_a_scrape_passes_promtool(self):
        done = subprocess.run(
            ["promtool", "check", "metrics"], input=self.scrape(),
            capture_output=True, text=True, timeout=30,
        )
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_no_label_grows_with_ranks_steps_or_incidents(self):
        names = set()
        of_run = 0
        for line in self.scrape().splitlines():
            if line.startswith("#"):
                continue
            names.update(re.findall(r'[{,](\w+)="', line))
            of_run += 'run="%s"' % RUN in line
        self.assertLessEqual(names, {
            "version", "commit", "run", "state", "le", "signal", "phase",
            "kind", "severity", "action", "outcome", "sink",
        })
        self.assertLessEqual(of_run, 100)
        self.assertGreater(of_run, 30)

    def exposed(self):
        return set(re.findall(r"^# TYPE (\S+) ", self.scrape(), re.M))

    def test_the_documentation_lists_exactly_what_is_exposed(self):
        documented = set()
        for line in (ROOT / "docs/metrics.md").read_text().splitlines():
            if not line.startswith("| `"):
                continue
            documented.update(re.findall(r"`((?:steadyrun|process)_\w+)`",
                                         line.split("|")[1]))
        self.assertEqual(documented, self.exposed() | self.agents_exposed())

    def agents_exposed(self):
        texts = [
            get("http://%s/metrics" % target)
            for group in get_json(self.stack.http + "/api/v1/sd/agents")
            for target in group["targets"]
        ]
        for text in texts:
            done = subprocess.run(
                ["promtool", "check", "metrics"], input=text,
                capture_output=True, text=True, timeout=30,
            )
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return set(re.findall(r"^# TYPE (\S+) ", "".join(texts), re.M))

    def test_rules_and_dashboards_use_what_is_exposed(self):
        exposed = self.exposed()
        for name in list(exposed):
            exposed.update(name + end for end in ("_bucket", "_sum", "_count"))
        rules = (ROOT / "dashboards/prometheus/steadyrun.rules.yml").read_text()
        recorded = {name.split(":")[1] for name in
                    re.findall(r"record: (\S+)", rules)}
        exprs = re.findall(r"^ +expr: *(\|\n(?: {10,}.*\n)+|.+)$", rules, re.M)
        self.assertGreater(len(exprs), 10)
        for path in (ROOT / "dashboards/grafana/dashboards").glob("*.json"):
            for panel in json.loads(path.read_text())["panels"]:
                exprs += [target["expr"] for target in panel["targets"]]
        for expr in exprs:
            self.assertLessEqual(
                set(METRIC.findall(expr)) - recorded, exposed, expr
            )

    def test_the_time_of_a_run_sums_to_its_wall_time(self):
        def total():
            return sum(
                float(line.rsplit(" ", 1)[1])
                for line in self.scrape().splitlines()
                if line.startswith("steadyrun_run_time_seconds_total{")
                and 'run="%s"' % RUN in line
            )

        before, at = total(), self.wall()
        wait_for("three seconds of the run", lambda: self.wall() > at + 3)
        grown, passed = total() - before, self.wall() - at
        self.assertLess(abs(grown - passed), 1.5, (grown, passed))

    @staticmethod
    def wall():
        return time.monotonic()

    # --- Prometheus.

    def query(self, expr):
        url = self.prometheus + "/api/v1/query?query=" + (
            urllib.parse.quote(expr))
        found = get_json(url)
        return found["data"]["result"] if found else []

    def test_prometheus_scrapes_the_server(self):
        step = wait_for("the step in Prometheus", lambda: self.query(
            'steadyrun_run_step{run="%s", cluster="c"}' % RUN))
        self.assertGreater(float(step[0]["value"][1]), 0)
        self.assertTrue(wait_for(
            "a recorded series",
            lambda: self.query("cluster_run:steadyrun_incidents_open:sum")))

    def test_prometheus_finds_the_agents_and_scrapes_them(self):
        steps = wait_for("a rank's step in Prometheus", lambda: self.query(
            'steadyrun_agent_rank_step{run="%s", job="steadyrun-agent"}' % RUN
        ))
        self.assertEqual(steps[0]["metric"]["local_rank"], "0")
        wait_for("both agents", lambda: len(self.query(
            'up{job="steadyrun-agent"} == 1')) == 2)

    # --- A run that cannot start: policy halts it, and all are told.

    def launch_hopeless(self, run, policy):
        self.stack.launch(run, "/bin/false", "--policy",
                          self.stack.work / policy)
        self.addCleanup(self.end, run)

    def end(self, run):
        if self.stack.run_view(run).get("phase") != "stopped":
            self.stack.cli("stop", run, "--reason", "mended")

    def test_a_halted_run_reaches_prometheus_and_alertmanager(self):
        self.launch_hopeless("hopeless", "policy.toml")
        alert = wait_for("an alert in Alertmanager", lambda: self.amtool(
            "run=hopeless", "alertname=SteadyrunRunHalted"))[0]
        self.assertTrue(alert["annotations"]["summary"].endswith("."))
        fired = wait_for("SteadyrunRunHalted",
                         lambda: self.firing("SteadyrunRunHalted"))
        self.assertEqual(fired[0]["labels"]["run"], "hopeless")
        self.assertEqual(fired[0]["labels"]["cluster"], "c")

    def test_an_incident_is_in_alertmanager_until_it_ends(self):
        self.launch_hopeless("observed", "observe.toml")
        alert = wait_for("an alert in Alertmanager",
                         lambda: self.amtool("run=observed"))[0]
        self.assertEqual(alert["labels"]["alertname"], "SteadyrunCrash")
        self.assertEqual(alert["labels"]["incident_id"], "observed:1")
        self.end("observed")
        wait_for("the end in Alertmanager",
                 lambda: not self.amtool("run=observed"))

    def test_an_alert_of_the_site_is_evidence(self):
        self.launch_hopeless("cabled", "observe.toml")
        wait_for("its incident", lambda: get_json(
            self.stack.http + "/api/v1/incidents/cabled:1"))
        node = self.stack.run_view("cabled")["placement"][0]["node"]
        subprocess.run(
            ["amtool", "--alertmanager.url", self.alertmanager, "alert",
             "add", "FabricLinkDown", "node=" + node, "severity=critical",
             "--annotation", "summary=Port 7 lost its link."],
            check=True, timeout=20,
        )
        wait_for("the alert among the evidence", lambda: [
            line for line in get_json(
                self.stack.http + "/api/v1/incidents/cabled:1")["evidence"]
            if "FabricLinkDown on %s" % node in line
            and "Port 7 lost its link." in line
        ])

    def amtool(self, *matchers):
        done = subprocess.run(
            ["amtool", "--alertmanager.url", self.alertmanager, "-o", "json",
             "alert", "query", *matchers],
            capture_output=True, text=True, timeout=20,
        )
        return json.loads(done.stdout) if done.returncode == 0 else []

    def firing(self, name):
        found = get_json(self.prometheus + "/api/v1/alerts")
        return [
            one for one in (found["data"]["alerts"] if found else ())
            if one["state"] == "firing" and one["labels"]["alertname"] == name
        ]

    # --- Notifications.

    def test_the_webhook_is_told_once_of_each_change(self):
        bodies = wait_for("the end of the incident", lambda: [
            body for body in self.stack.receiver.bodies("/webhook")
            if RUN == body["groupLabels"]["run"]
            and body["status"] == "resolved"
        ] and self.stack.receiver.bodies("/webhook"))
        seen = [
            (alert["labels"]["incident_id"], alert["status"])
            for body in bodies for alert in body["alerts"]
            if "incident_id" in alert["labels"]
        ]
        self.assertEqual(len(seen), len(set(seen)), seen)
        signatures = [
            headers.get("X-Steadyrun-Signature") for path, headers, _ in
            self.stack.receiver.requests if path == "/webhook"
        ]
        self.assertTrue(all(signatures))

    def test_slack_and_pagerduty_are_told(self):
        text = wait_for("a message",
                        lambda: self.stack.receiver.bodies("/slack"))[0]
        self.assertEqual(list(text), ["text"])
        self.assertIn("Steadyrun", text["text"])
        event = wait_for("an event",
                         lambda: self.stack.receiver.bodies("/pagerduty"))[0]
        self.assertEqual(event["routing_key"], "s3cret")
        self.assertIn(event["event_action"], ("trigger", "resolve"))
        self.assertTrue(event["dedup_key"])

    def test_the_dead_man_is_told_while_the_service_sees(self):
        wait_for("a ping", lambda: [
            path for path, _, _ in self.stack.receiver.requests
            if path == "/dead_man"
        ])

    def test_a_mute_is_audited(self):
        self.stack.cli("mute", RUN, "--for", "2h", "--reason", "maintenance")
        self.stack.cli("unmute", RUN, "--reason", "done")
        audit = get_json(self.stack.http + "/api/v1/runs/%s/audit" % RUN)
        actions = [entry["action"] for entry in audit["entries"]]
        self.assertIn("mute", actions)
        self.assertIn("unmute", actions)

    # --- The stream of events.

    def test_events_are_listed_and_resumed_by_number(self):
        all_of_them = get_json(self.stack.http + "/api/v1/journal")["events"]
        self.assertTrue(all_of_them)
        numbers = [int(event["seq"]) for event in all_of_them]
        self.assertEqual(numbers, sorted(set(numbers)))
        rest = get_json(self.stack.http + "/api/v1/journal?after=%d" %
                        numbers[0])["events"]
        self.assertEqual(
            [int(event["seq"]) for event in rest][:len(numbers) - 1],
            numbers[1:],
        )

    def follow(self, path, headers):
        """Events of a stream of server-sent events, one by one."""
        address = urllib.parse.urlsplit(self.stack.http)
        connection = http.client.HTTPConnection(address.netloc, timeout=30)
        self.addCleanup(connection.close)
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        self.assertEqual(answer.status, 200)
        self.assertEqual(answer.headers["Content-Type"], "text/event-stream")
        event = {}
        for line in answer:
            text = line.decode().rstrip("\n")
            if text and not text.startswith(":"):
                name, _, value = text.partition(": ")
                event[name] = value
            elif "data" in event:
                yield event
                event = {}

    def test_a_client_of_server_sent_events_resumes(self):
        listed = get_json(self.stack.http + "/api/v1/journal")
        stream = self.follow("/api/v1/journal/stream", {})
        first = [next(stream) for _ in listed["events"]]
        self.assertEqual([event["id"] for event in first],
                         [event["seq"] for event in listed["events"]])
        self.assertEqual([json.loads(event["data"]) for event in first],
                         listed["events"])
        # The next begins where that one ended, and waits for what is new.
        rest = self.follow("/api/v1/journal/stream",
                           {"Last-Event-ID": first[-1]["id"]})
        self.stack.cli("mute", RUN, "--for", "1h", "--reason", "watched")
        event = next(rest)
        while event["event"] != "mute":
            event = next(rest)
        self.assertGreater(int(event["id"]), int(first[-1]["id"]))
        self.stack.cli("unmute", RUN, "--reason", "done")

    @unittest.skipUnless(grpc_python(), "no Python has grpcio")
    def test_a_python_client_follows_events_and_resumes(self):
        client = [grpc_python(), ROOT / "tests/monitoring/watch_client.py",
                  "--proto", ROOT / "proto", "--server", self.stack.grpc]
        done = subprocess.run(
            [str(word) for word in [*client, "--count", "2"]],
            capture_output=True, text=True, timeout=30,
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        first = [json.loads(line) for line in done.stdout.splitlines()]
        self.assertEqual(len(first), 2)
        # The next begins where that one ended, and waits for what is new.
        newest = int(get_json(self.stack.http + "/api/v1/journal")
                     ["newest_seq"])
        waiting = subprocess.Popen(
            [str(word) for word in
             [*client, "--count", "1", "--after", newest]],
            stdout=subprocess.PIPE, text=True,
        )
        self.stack.cli("mute", RUN, "--for", "1h", "--reason", "watched")
        out, _ = waiting.communicate(timeout=30)
        event = json.loads(out.splitlines()[0])
        self.assertGreater(int(event["seq"]), newest)
        self.stack.cli("unmute", RUN, "--reason", "done")


@unittest.skipUnless((BIN / "steadyrun-server").exists(), "not built")
class DownTest(unittest.TestCase):
    """A target that does not answer, and a server that was away."""

    @unittest.skipIf(MISSING, "missing: %s" % ", ".join(MISSING))
    def test_prometheus_fires_the_alert_of_a_dead_service(self):
        stack = Stack()
        try:
            stack.http = "http://127.0.0.1:%d" % free_port()
            StackTest.start_prometheus.__func__(type(self), stack)
            alert = wait_for("SteadyrunDown", lambda: [
                one for one in (get_json(self.prometheus + "/api/v1/alerts")
                                or {"data": {"alerts": ()}})["data"]["alerts"]
                if one["labels"]["alertname"] == "SteadyrunDown"
                and one["state"] == "firing"
            ])
            self.assertEqual(alert[0]["labels"]["severity"], "critical")
        finally:
            stack.close()

    def test_what_could_not_be_told_is_told_after_a_restart(self):
        stack = Stack()
        config = '[notify]\ngroup_wait = "0s"\n[notify.slack]\nurl = "%s/slack"'
        try:
            stack.receiver.refuse = True
            stack.start_server(config % stack.receiver.url)
            stack.start_agent()
            stack.launch("probe", "/bin/false")
            wait_for("a failed attempt", lambda: re.search(
                r'steadyrun_notification_sink_failing\{sink="slack"\} 1',
                get(stack.http + "/metrics")))
            self.assertEqual(stack.receiver.requests, [])
            stack.server.kill()
            stack.server.wait()
            stack.receiver.refuse = False
            stack.start_server(config % stack.receiver.url, grpc=stack.grpc)
            text = wait_for("the notice", lambda:
                            stack.receiver.bodies("/slack"))[0]["text"]
            self.assertIn("probe:1", text)
        finally:
            stack.close()


if __name__ == "__main__":
    unittest.main()
