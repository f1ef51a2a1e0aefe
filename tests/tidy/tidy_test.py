"""Style that is worth arguing about once: checked here, not in reviews.

Layering (includes point down only), purity (no clock, thread, lock or I/O in
the pure modules), sizes, and words that must not appear. Run by ctest; by hand:
python3 tests/tidy/tidy_test.py
"""

import pathlib
import re
import subprocess
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]

PURE = ("server/model", "server/detect", "server/incident", "server/policy",
        "server/recovery", "server/engine", "agent/core", "proto/messages",
        "replay", "fleet/sim")

# Folder -> what it may include, beside itself and `base`. Longest prefix wins.
MESSAGES = ("proto/messages",)
MODEL = MESSAGES + ("server/model",)
DECIDE = MODEL + ("server/detect", "server/incident", "server/policy")
ENGINE = DECIDE + ("server/recovery", "server/engine")
MAY_INCLUDE = {
    "base": (),
    "proto/messages": (),
    "server/model": MESSAGES,
    "server/detect": MODEL,
    "server/incident": MODEL + ("server/detect",),
    "server/policy": MODEL + ("server/detect",),  # Holds the options.
    "server/recovery": DECIDE,
    "server/engine": DECIDE + ("server/recovery",),
    "server/report": ENGINE,
    "server/storage": ENGINE,
    "server/rpc": ENGINE + ("server/storage", "server/report", "replay"),
    "server/web": ENGINE + ("server/rpc", "server/storage", "server/report"),
    "server/metrics": ENGINE + ("server/rpc", "server/notify"),
    "server/notify": ENGINE + ("server/storage",),
    "agent/core": MESSAGES,
    "replay": ENGINE,
    "replay/readers": ENGINE + ("replay", "agent/logs"),
    "fleet/sim": ENGINE,
    "fleet/wire": MESSAGES + ("proto", "fleet/sim", "agent/core",
                              "agent/transport"),
    "cli": DECIDE + ("proto", "replay", "agent/logs", "fleet"),
}

SOURCE = [path for path in subprocess.run(
    ["git", "ls-files", "*.h", "*.cc"], cwd=ROOT, text=True,
    capture_output=True, check=True).stdout.split()]

INCLUDE = re.compile(r'^#include "([^"]+)"', re.M)
OURS = re.compile(r"^(base|proto|server|agent|replay|fleet|cli|tests)/")


def read(path):
    return (ROOT / path).read_text(encoding="utf-8", errors="replace")


def code_only(text):
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.S)
    return re.sub(r"//[^\n]*", "", text)


class Tidy(unittest.TestCase):

    def check(self, findings):
        self.assertFalse(findings, "\n" + "\n".join(sorted(findings)))

    def test_includes_point_down_only(self):
        findings = []
        for path in SOURCE:
            folders = [f for f in MAY_INCLUDE if path.startswith(f + "/")]
            if not folders:
                continue
            folder = max(folders, key=len)
            allowed = MAY_INCLUDE[folder] + (folder, "base")
            for include in INCLUDE.findall(read(path)):
                if OURS.match(include) and not include.startswith(
                        tuple(a + "/" for a in allowed)):
                    findings.append(f"{path}: includes {include}")
        self.check(findings)

    def test_protobuf_stays_in_the_adapters(self):
        adapters = ("server/rpc/", "server/storage/", "server/web/",
                    "agent/transport/", "agent/spool/", "cli/",
                    "fleet/wire/",
                    "proto/messages/convert", "tests/")
        self.check([f"{path}: includes protobuf" for path in SOURCE
                    if re.search(r'#include [<"](steadyrun/v1/|google/protobuf)',
                                 read(path))
                    and not path.startswith(adapters)])

    def test_pure_modules_are_pure(self):
        banned = re.compile(
            r"std::thread|std::jthread|absl::Mutex|std::mutex|::now\(\)|"
            r"absl::Now|time\(nullptr\)|gettimeofday|std::random_device|"
            r"std::rand\b|spdlog::(info|warn|error|debug)|std::getenv|"
            r"#include <(fstream|thread|mutex|unistd\.h|sys/)|fopen\(")
        findings = []
        for path in SOURCE:
            if not path.startswith(PURE) or "/convert" in path:
                continue
            for match in banned.finditer(code_only(read(path))):
                findings.append(f"{path}: '{match.group()}' in a pure module")
        self.check(findings)

    def test_only_the_clock_reads_the_time_in_shared_code(self):
        banned = re.compile(r"(system_clock|steady_clock)::now\(\)")
        self.check([f"{path}: reads the clock; base/clock.h does that"
                    for path in SOURCE if path.startswith("base/")
                    and path != "base/clock.cc"
                    and banned.search(code_only(read(path)))])

    def test_files_have_one_idea(self):
        self.check([f"{path}: {n} lines, at most 600" for path in SOURCE
                    if (n := read(path).count("\n")) > 600])

    def test_headers_are_guarded(self):
        self.check([f"{path}: no #pragma once" for path in SOURCE
                    if path.endswith(".h") and "#pragma once" not in read(path)
                    and not re.search(r"#ifndef STEADYRUN_\w+_H_", read(path))])

    def test_no_leftovers(self):
        banned = re.compile(r"\b(FIXME|XXX|HACK)\b|TODO(?!\()")
        self.check([f"{path}: leftover '{match.group()}'" for path in SOURCE
                    if (match := banned.search(read(path)))])

    def test_tests_do_not_sleep_for_a_state(self):
        # Benchmarks pace their load. Elsewhere a line may say "// Pace: why"
        # where the moment itself is the point, not a state to wait for.
        banned = re.compile(r"std::this_thread::sleep|\busleep\(|\bsleep\(\d")
        self.check([f"{path}:{number}: sleeps" for path in SOURCE
                    if path.startswith("tests/")
                    and not path.startswith("tests/bench/")
                    for number, line in enumerate(read(path).split("\n"), 1)
                    if banned.search(line.split("//")[0])
                    and "// Pace:" not in line])

    def test_every_incident_kind_has_a_runbook(self):
        names = re.findall(r'case IncidentKind::\w+:\s+return "(\w+)"',
                           read("server/model/names.cc"))
        self.assertGreater(len(names), 5)
        self.check([f"docs/runbooks/{name}.md is missing" for name in names
                    if not (ROOT / f"docs/runbooks/{name}.md").exists()])


if __name__ == "__main__":
    unittest.main()
