"""The fault script: TOML in, a checked list of faults out.

    [[fault]]
    at_step = 300          # or at_seconds, counted from the launch
    kind = "kill_rank"
    rank = 1               # or node; without either the seed chooses

Strict: an unknown key, kind or value is refused with file, line and column
and the nearest word that would do.
"""

import dataclasses
import difflib
import re
import tomllib

# What each kind aims at, and how long it lasts when `seconds` is not given.
RANK, NODE, NOTHING = "rank", "node", "nothing"


@dataclasses.dataclass(frozen=True)
class Kind:
    target: str
    seconds: float  # Default duration; 0: none.
    what: str


KINDS = {
    "kill_rank": Kind(RANK, 0, "SIGKILL to a rank"),
    "stop_rank": Kind(RANK, 0, "SIGSTOP to a rank: a hang"),
    "exit_rank": Kind(RANK, 0, "a Python exception in a rank"),
    "nan_loss": Kind(RANK, 0, "a loss that is no number"),
    "spin_rank": Kind(RANK, 0, "a rank computes for ever: a hang, all alive"),
    "slow_rank": Kind(RANK, 20, "a rank slower by `factor`"),
    "kill_agent": Kind(NODE, 0.5, "SIGKILL to an agent alone"),
    "kill_node": Kind(NODE, 20, "SIGKILL to all processes of a node"),
    "pause_node": Kind(NODE, 15, "SIGSTOP to all processes of a node"),
    "kill_server": Kind(NOTHING, 0.5, "SIGKILL to the server"),
    "cut_agent": Kind(NODE, 10, "no network between an agent and the server"),
    "corrupt_checkpoint": Kind(RANK, 0, "bytes of the newest one changed"),
    "fill_disk": Kind(NOTHING, 10, "no space for database and spools"),
}

# Done by the training code itself, at its step.
IN_TRAINING = ("nan_loss", "exit_rank", "spin_rank")

KEYS = {
    "kind": (str,),
    "at_step": (int,),
    "at_seconds": (int, float),
    "rank": (int,),
    "node": (int, str),
    "seconds": (int, float),
    "factor": (int, float),
    "repeat": (bool,),
    "permanent": (bool,),
    "delay": (int, float),
}

MAX_FAULTS = 1000
MAX_SECONDS = 7 * 86400.0


@dataclasses.dataclass(frozen=True)
class Fault:
    number: int  # Counts from 1, as in the file.
    kind: str
    at_step: int | None = None
    at_seconds: float | None = None
    rank: int | None = None
    node: int | str | None = None
    seconds: float | None = None  # None: not given.
    factor: float = 3.0  # slow_rank only.
    repeat: bool = False  # Again each time the step is reached.
    permanent: bool = False  # kill_node: it never comes back.
    delay: float = 0.0  # Seconds after the step was reached.

    def duration(self):
        if self.seconds is not None:
            return self.seconds
        return KINDS[self.kind].seconds

    def describe(self):
        target = ""
        if self.rank is not None:
            target = " of rank %d" % self.rank
        elif self.node is not None:
            target = " of node %s" % self.node
        moment = (
            "step %d" % self.at_step
            if self.at_step is not None
            else "%g s" % self.at_seconds
        )
        if self.delay:
            moment += " + %g s" % self.delay
        return "#%d %s%s at %s" % (self.number, self.kind, target, moment)


class FaultScriptError(Exception):
    """The script is refused; the message says where, why and what would do."""


def load(path):
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        raise FaultScriptError("%s: %s" % (path, error.strerror)) from error
    return parse(data.decode("utf-8", "replace"), path)


def parse(text, path="<faults>"):
    """The faults of a script, in its order."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise FaultScriptError(_toml_error(path, error)) from error
    return _Checker(text, path).check(document)


def _toml_error(path, error):
    found = re.search(r"\(at line (\d+), column (\d+)\)", str(error))
    if not found:
        return "%s: %s" % (path, error)
    reason = str(error)[: found.start()].strip()
    return "%s:%s:%s: %s" % (path, found.group(1), found.group(2), reason)


def _nearest(word, words):
    close = difflib.get_close_matches(str(word), list(words), 1, 0.5)
    if close:
        return "; did you mean '%s'?" % close[0]
    return "; known: %s" % ", ".join(sorted(words))


class _Checker:
    def __init__(self, text, path):
        self.path = path
        self.lines = text.splitlines()
        self.headers = [
            number
            for number, line in enumerate(self.lines)
            if re.match(r"\s*\[\[\s*(fault|'fault'|\"fault\")\s*\]\]", line)
        ]

    def check(self, document):
        for key in document:
            if key != "fault":
                self._refuse(
                    self._find(key, 0, len(self.lines)),
                    "unknown key '%s'%s" % (key, _nearest(key, ["fault"])),
                )
        tables = document.get("fault", [])
        if not isinstance(tables, list) or not all(
            isinstance(table, dict) for table in tables
        ):
            self._refuse(
                self._find("fault", 0, len(self.lines)),
                "faults are written as [[fault]] tables",
            )
        if len(tables) > MAX_FAULTS:
            self._refuse(
                None, "%d faults, at most %d" % (len(tables), MAX_FAULTS)
            )
        return [
            self._fault(number, table)
            for number, table in enumerate(tables, 1)
        ]

    def _fault(self, number, table):
        def where(key=None):
            return self._place(number, key)

        for key, value in table.items():
            if key not in KEYS:
                self._refuse(
                    where(key),
                    "unknown key '%s' of a fault%s" % (key, _nearest(key, KEYS)),
                )
            self._check_type(where(key), key, value)
        if "kind" not in table:
            self._refuse(where(), "a fault needs a 'kind'")
        kind = table["kind"]
        if kind not in KINDS:
            self._refuse(
                where("kind"),
                "unknown kind '%s'%s" % (kind, _nearest(kind, KINDS)),
            )
        self._check_moment(where, table)
        self._check_numbers(where, table)
        self._check_fit(where, kind, table)
        return Fault(number=number, **table)

    def _check_type(self, place, key, value):
        kinds = KEYS[key]
        if isinstance(value, bool) and bool not in kinds:
            kinds = ()
        if not isinstance(value, kinds):
            expected = " or ".join(
                {int: "an integer", float: "a number", str: "a string",
                 bool: "true or false"}[kind]
                for kind in KEYS[key]
            )
            self._refuse(
                place, "%s = %r, expected %s" % (key, value, expected)
            )

    def _check_moment(self, where, table):
        if ("at_step" in table) == ("at_seconds" in table):
            self._refuse(
                where("at_seconds" if "at_seconds" in table else None),
                "a fault needs 'at_step' or 'at_seconds', one of the two",
            )

    def _check_numbers(self, where, table):
        bounds = {
            "at_step": (0, 10**12),
            "at_seconds": (0, MAX_SECONDS),
            "rank": (0, 10**6),
            "seconds": (0, MAX_SECONDS),
            "factor": (1, 1000),
            "delay": (0, MAX_SECONDS),
        }
        for key, (low, high) in bounds.items():
            # Not a number compares false to everything, so it is refused too.
            if key in table and not low <= table[key] <= high:
                self._refuse(
                    where(key),
                    "%s = %r, expected %g to %g" % (key, table[key], low, high),
                )
        node = table.get("node")
        if isinstance(node, int) and node < 0:
            self._refuse(where("node"), "node = %d, expected 0 or more" % node)

    def _check_fit(self, where, kind, table):
        if "rank" in table and "node" in table:
            self._refuse(
                where("node"), "'rank' and 'node' together: one of the two"
            )
        for key, kinds in (
            ("factor", ("slow_rank",)),
            ("permanent", ("kill_node",)),
        ):
            if key in table and kind not in kinds:
                self._refuse(
                    where(key), "'%s' goes with %s only" % (key, kinds[0])
                )
        if table.get("repeat") and "at_step" not in table:
            self._refuse(where("repeat"), "'repeat' needs 'at_step'")
        if table.get("delay") and kind in IN_TRAINING:
            if "at_step" in table:
                self._refuse(
                    where("delay"),
                    "%s happens at its step: 'delay' goes with other kinds"
                    % kind,
                )

    def _place(self, number, key):
        """(line, column) of a key of the fault, or of its header."""
        if number > len(self.headers):  # Written as an inline array.
            return self._find(key or "fault", 0, len(self.lines))
        begin = self.headers[number - 1]
        end = (
            self.headers[number]
            if number < len(self.headers)
            else len(self.lines)
        )
        if key is None:
            return begin + 1, self.lines[begin].index("[") + 1
        return self._find(key, begin + 1, end) or (begin + 1, 1)

    def _find(self, key, begin, end):
        pattern = re.compile(r"[\s\[\"'{,]*(%s)\b" % re.escape(str(key)))
        for number in range(begin, min(end, len(self.lines))):
            found = pattern.match(self.lines[number])
            if found:
                return number + 1, found.start(1) + 1
        return None

    def _refuse(self, place, text):
        at = ":%d:%d" % place if place else ""
        raise FaultScriptError("%s%s: %s" % (self.path, at, text))
