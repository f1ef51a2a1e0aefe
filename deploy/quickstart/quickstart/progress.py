"""Progress lines: what the service says of the run, on change and each second.

A thread asks the service's HTTP port, so that a dead or busy service never
delays the driver. Incidents and phases are told when they change.
"""

import sys
import threading
import time

_ASK_SECONDS = 0.25
_LINE_SECONDS = 5.0
_LIVE_SECONDS = 1.0


class Progress:
    def __init__(self, client, run, steps):
        self.client = client
        self.run = run
        self.steps = steps
        self.view = None  # Newest answer; None before the first.
        self.is_reached = False
        self._began = time.monotonic()
        self._print_lock = threading.Lock()
        self._is_stopped = threading.Event()
        self._last_line = 0.0
        self._last_step = (self._began, 0)
        self._told_phase = None
        self._told = {}  # Incident id -> state told.
        self._thread = threading.Thread(
            target=self._follow, name="progress", daemon=True
        )

    def start(self):
        self._thread.start()

    def stop(self):
        self._is_stopped.set()
        if self._thread.ident is not None:
            self._thread.join()

    def say(self, text):
        """One line with the time since the start; from any thread."""
        with self._print_lock:
            sys.stdout.write(
                "[%7.1f s] %s\n" % (time.monotonic() - self._began, text)
            )
            sys.stdout.flush()

    def phase(self):
        return (self.view or {}).get("phase", "")

    def _follow(self):
        while not self._is_stopped.wait(_ASK_SECONDS):
            view = self.client.run_view(self.run)
            was_reached, self.is_reached = self.is_reached, view is not None
            if view is None:
                if was_reached:
                    self.say("the service does not answer; training goes on")
                continue
            self.view = view
            self._tell(view)

    def _tell(self, view):
        # Told once more when the run has ended, by the last call of stop().
        phase = (view.get("phase"), view.get("attempt"))
        if phase != self._told_phase:
            self._told_phase = phase
            reason = view.get("phase_reason") or ""
            self.say("attempt %s: %s%s" % (
                phase[1], phase[0], ": " + reason if reason else ""))
        if view.get("incidents"):
            self._tell_incidents()
        now = time.monotonic()
        interval = _LIVE_SECONDS if sys.stdout.isatty() else _LINE_SECONDS
        if now - self._last_line >= interval and phase[0] == "running":
            self._last_line = now
            self._tell_step(view, now)

    def _tell_step(self, view, now):
        step = max(0, int(view.get("step", 0)))
        began, before = self._last_step
        rate = max(0, step - before) / max(0.001, now - began)
        self._last_step = (now, step)
        # Protobuf's JSON writes what is no number as a string.
        loss = view.get("loss")
        self.say("step %d/%d  %.1f steps/s  loss %s  attempt %s  incidents %s"
                 % (step, self.steps, rate,
                    "%.4f" % loss if isinstance(loss, (int, float)) else loss,
                    view.get("attempt"), view.get("incidents")))

    def _tell_incidents(self):
        found = self.client.get("api/v1/runs/%s/incidents" % self.run)
        for incident in (found or {}).get("incidents", ()):
            state = incident.get("state")
            if self._told.get(incident.get("id")) == state:
                continue
            self._told[incident.get("id")] = state
            self.say(describe_incident(incident))


def describe_incident(incident):
    culprit = incident.get("culprit") or {}
    where = []
    if culprit.get("rank", -1) >= 0:
        where.append("rank %d" % culprit["rank"])
    if culprit.get("node"):
        where.append(culprit["node"])
    text = "incident %s %s%s: %s" % (
        incident.get("id"), incident.get("kind"),
        " of " + " on ".join(where) if where else "", incident.get("reason"))
    if incident.get("state") == "open":
        return text
    return "incident %s %s: %s, after %.1f s" % (
        incident.get("id"), incident.get("kind"), incident.get("state"),
        incident.get("recovery_seconds") or 0.0)
