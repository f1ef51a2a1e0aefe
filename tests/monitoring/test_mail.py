"""Mails of real incidents, taken by a real SMTP server (aiosmtpd)."""

import email
import email.policy
import json
import pathlib
import re
import subprocess
import sys
import unittest

from stack import BIN, Stack, get, get_json, wait_for

# So long that its line is broken among the dots.
RUN = "probe" + 59 * "."
HERE = pathlib.Path(__file__).resolve().parent

CONFIG = """
[notify]
group_wait = "0s"
ca_file = "{ca}"
[notify.mail]
url = "smtp://127.0.0.1:{port}"
from = "steadyrun@example.org"
to = {to}
user = "{user}"
password_file = "{password_file}"
"""


def smtp_python():
    """A Python that has aiosmtpd: this one or Debian's."""
    for python in (sys.executable, "/usr/bin/python3"):
        if subprocess.run([python, "-c", "import aiosmtpd"],
                          capture_output=True).returncode == 0:
            return python
    return None


PYTHON = smtp_python()


def make_certificate(folder):
    """An authority and its certificate for 127.0.0.1, in `folder`."""
    subprocess.run(
        ["sh", "-ec",
         "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256"
         " -nodes -keyout ca.key -out ca.crt -subj /CN=test-ca -days 2;"
         "openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
         " -keyout mail.key -out mail.csr -subj /CN=mail;"
         "printf 'subjectAltName=IP:127.0.0.1' > san;"
         "openssl x509 -req -in mail.csr -CA ca.crt -CAkey ca.key"
         " -CAcreateserial -out mail.crt -days 2 -extfile san"],
        cwd=folder, check=True, capture_output=True,
    )


@unittest.skipUnless(PYTHON, "missing: aiosmtpd; "
                     "deploy/install-packages.sh monitoring")
@unittest.skipUnless((BIN / "steadyrun-server").exists(), "not built")
class MailTest(unittest.TestCase):
    def setUp(self):
        self.stack = Stack()
        self.addCleanup(self.stack.close)
        self.addCleanup(self.show_log)

    def show_log(self):
        if any(error for _, error in getattr(
                self._outcome, "errors", ())):
            sys.stderr.write(self.stack.log("server.log")[-3000:])

    def start_mail_server(self, *words):
        self.stack.start(PYTHON, HERE / "mail_server.py", *words,
                         log="mail.log")
        return int(wait_for(
            "the mail server's port",
            lambda: re.match(r"(\d+)\n", self.stack.log("mail.log")),
        ).group(1))

    def start_guarded_mail_server(self):
        """One that takes mail from `watcher` only, over TLS only."""
        make_certificate(self.stack.work)
        return self.start_mail_server(
            "--certificate", self.stack.work / "mail.crt",
            "--key", self.stack.work / "mail.key",
            "--login", "watcher", "s3cret")

    def start_server(self, port, to=("ops@example.org",), user="",
                     password="", ca=""):
        secret = self.stack.work / "password"
        secret.write_text(password + "\n")
        self.stack.start_server(CONFIG.format(
            port=port, to=json.dumps(list(to)), user=user, ca=ca,
            password_file=secret if password else "",
        ))
        self.stack.start_agent()

    def break_a_run(self):
        self.stack.launch(RUN, "/bin/false")
        return wait_for("an incident", lambda: (get_json(
            self.stack.http + "/api/v1/incidents") or {}).get("incidents"))

    def events(self, key):
        lines = self.stack.log("mail.log").splitlines()[1:]
        return [one for one in (
            json.loads(line) for line in lines if line.startswith("{")
        ) if key in one]

    def mails(self, to="ops@example.org"):
        return [one for one in self.events("content") if one["to"] == [to]]

    def first_mail(self, to="ops@example.org"):
        return wait_for("a mail to " + to, lambda: self.mails(to))[0]

    def metric(self, name, labels):
        text = get(self.stack.http + "/metrics")
        found = re.search(
            re.escape("%s{%s} " % (name, labels)) + r"(\S+)", text)
        return float(found.group(1)) if found else None

    def is_failing(self, to):
        return self.metric("steadyrun_notification_sink_failing",
                           'sink="mail:%s"' % to)

    def test_a_real_incident_arrives_as_it_was_written(self):
        self.start_server(self.start_mail_server())
        self.break_a_run()
        mail = self.first_mail()
        incident = get_json(
            self.stack.http + "/api/v1/incidents/%s:1" % RUN)
        self.assertEqual(mail["from"], "steadyrun@example.org")
        self.assertFalse(mail["tls"])
        raw = mail["content"].encode("latin-1")
        self.assertLess(max(map(len, raw.split(b"\r\n"))), 998)
        message = email.message_from_bytes(raw, policy=email.policy.default)
        self.assertEqual(message.defects, [])
        self.assertEqual(message["From"], "steadyrun@example.org")
        self.assertEqual(message["To"], "ops@example.org")
        self.assertIsNone(message["Bcc"])
        self.assertIn("run " + RUN, message["Subject"])
        self.assertIn(incident["kind"], message["Subject"])
        self.assertIsNotNone(message["Date"].datetime)
        self.assertRegex(message["Message-ID"], r"^<\w+@steadyrun>$")
        self.assertEqual(message["Auto-Submitted"], "auto-generated")
        text = message.get_content()
        self.assertIn(incident["id"], text)
        # The reason as it was then: what is found later is added to it.
        self.assertIn(incident["reason"].split(":")[0].rstrip("."), text)
        # A line that begins with a dot has as many as it was sent with.
        self.assertIn(b"\r\n...", raw)
        self.assertIn("run %s:" % RUN, text)

    def test_a_refused_receiver_is_tried_again_and_shown(self):
        late = "late@example.org"
        port = self.start_mail_server(
            "--refuse", late, "451 4.7.1 come back later",
            "--refuse", late, "550 5.1.1 no such user",
            "--refuse", late, "550 5.1.1 no such user")
        self.start_server(port, ["ops@example.org", late])
        self.break_a_run()
        self.first_mail()
        wait_for("the failure on /metrics",
                 lambda: self.is_failing(late) == 1)
        told = self.metric("steadyrun_notifications_total",
                           'sink="mail:ops@example.org",outcome="delivered"')
        self.assertGreaterEqual(told, 1)
        self.assertEqual(self.is_failing("ops@example.org"), 0)
        doctor = subprocess.run(
            [str(BIN / "steadyrun"), "--server", self.stack.grpc, "doctor"],
            capture_output=True, text=True, timeout=30)
        self.assertIn("mail:" + late, doctor.stdout)
        wait_for("three refusals and a mail", lambda: self.mails(late))
        self.assertEqual(
            [one["answer"][:3] for one in self.events("rcpt")
             if one["rcpt"] == late][:4], ["451", "550", "550", "250"])
        self.assertIn("no such user", self.stack.log("server.log"))
        wait_for("no failure any more", lambda: self.is_failing(late) == 0)
        # The other one has heard nothing twice.
        subjects = [
            email.message_from_string(one["content"])["Subject"]
            for one in self.mails()
        ]
        self.assertEqual(len(subjects), len(set(subjects)), subjects)

    def test_a_login_goes_over_tls_and_the_certificate_is_checked(self):
        port = self.start_guarded_mail_server()
        self.start_server(port, user="watcher", password="s3cret",
                          ca=self.stack.work / "ca.crt")
        self.break_a_run()
        mail = self.first_mail()
        self.assertTrue(mail["tls"])
        self.assertEqual(mail["user"], "watcher")

    def assert_never_arrives(self, why):
        self.break_a_run()
        wait_for("the failure", lambda: self.is_failing("ops@example.org"))
        self.assertRegex(self.stack.log("server.log"), why)
        self.assertEqual(self.mails(), [])

    def test_a_certificate_of_nobody_we_know_is_refused(self):
        port = self.start_guarded_mail_server()
        self.start_server(port, user="watcher", password="s3cret")
        self.assert_never_arrives("(?i)certificate")

    def test_a_password_is_never_sent_without_tls(self):
        port = self.start_mail_server("--login", "watcher", "s3cret")
        self.start_server(port, user="watcher", password="s3cret")
        self.assert_never_arrives("(?i)STARTTLS|SSL")

    def test_a_wrong_password_is_shown(self):
        port = self.start_guarded_mail_server()
        self.start_server(port, user="watcher", password="other",
                          ca=self.stack.work / "ca.crt")
        self.assert_never_arrives("(?i)login denied")


if __name__ == "__main__":
    unittest.main()
