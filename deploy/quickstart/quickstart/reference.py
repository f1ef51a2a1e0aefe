"""The same training without Steadyrun and without faults, for its hash."""

import glob
import hashlib
import json
import os
import platform
import re
import subprocess

from quickstart.ports import free_port

TRAIN = os.path.join(
    os.path.dirname(os.path.dirname(os.path.abspath(__file__))),
    "train_gpt.py",
)


class ReferenceFailed(Exception):
    """The unbroken training did not finish; the message holds its output."""


def _key(python, arguments, world_size):
    """Changes with everything the parameters depend on."""
    with open(TRAIN, "rb") as file:
        script = hashlib.sha256(file.read()).hexdigest()
    versions = subprocess.run(
        [python, "-c", "import sys, sysconfig, torch; print(sys.version,"
         " torch.__version__, torch.__config__.show(),"
         " sysconfig.get_path('stdlib'))"],
        capture_output=True, text=True, check=False,
    ).stdout
    stdlib = versions.split()[-1:] or [""]
    texts = sorted(
        glob.glob("/usr/share/common-licenses/*")
        + glob.glob(os.path.join(stdlib[0], "*.py"))
    )
    stamps = [
        (path, os.stat(path).st_size, os.stat(path).st_mtime_ns)
        for path in texts
        if os.path.isfile(path)
    ]
    facts = [script, versions, stamps, arguments, world_size, platform.node()]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _cache_path(key):
    root = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return os.path.join(root, "steadyrun-quickstart", key[:32])


def reference_sha256(python, arguments, world_size):
    """(hash, is_cached) of the unbroken training; may take minutes."""
    path = _cache_path(_key(python, arguments, world_size))
    try:
        with open(path) as file:
            found = re.fullmatch(r"[0-9a-f]{64}", file.read().strip())
        if found:
            return found.group(0), True
    except OSError:
        pass
    digest = train_bare(python, arguments, world_size)
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as file:
            file.write(digest + "\n")
    except OSError:
        pass  # A cache only.
    return digest, False


def train_bare(python, arguments, world_size):
    """Trains without Steadyrun; leaves no process behind."""
    port = free_port()
    environment = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith("STEADYRUN_")
    }
    ranks = []
    try:
        for rank in range(world_size):
            ranks.append(subprocess.Popen(
                [python, TRAIN, *arguments],
                env=dict(
                    environment, RANK=str(rank), WORLD_SIZE=str(world_size),
                    LOCAL_RANK=str(rank), MASTER_ADDR="127.0.0.1",
                    MASTER_PORT=str(port),
                ),
                stdin=subprocess.DEVNULL, text=True, start_new_session=True,
                stdout=subprocess.PIPE if rank == 0 else subprocess.DEVNULL,
                stderr=subprocess.STDOUT if rank == 0 else subprocess.DEVNULL,
            ))
        output = ranks[0].communicate()[0]
    finally:
        for process in ranks:
            if process.poll() is None and process is not ranks[0]:
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    pass
            if process.poll() is None:
                process.kill()
            process.wait()
    found = re.search(r"parameters sha256 ([0-9a-f]{64})", output)
    if not found:
        raise ReferenceFailed(output[-2000:])
    return found.group(1)
