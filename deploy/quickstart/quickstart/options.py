"""The quickstart's flags, checked before anything is built or started."""

import argparse
import os

from quickstart import fault_script

HERE = os.path.dirname(os.path.abspath(__file__))
DEFAULT_FAULTS = os.path.join(os.path.dirname(HERE), "default_faults.toml")
DESCRIPTION = """\
Builds Steadyrun, starts a server and agents on this machine, trains a small
GPT with real PyTorch over them, breaks it by a script, and shows that it comes
to its last step with the very bits of a run that was never broken.
"""


def _at_least(low):
    def parse(text):
        number = int(text)
        if number < low:
            raise argparse.ArgumentTypeError(
                "%s, expected %d or more" % (text, low)
            )
        return number

    return parse


def make_parser():
    parser = argparse.ArgumentParser(
        prog="deploy/quickstart.sh", description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--steps", type=_at_least(1), default=1500, metavar="N",
        help="steps of the run (1500)")
    add("--nodes", type=_at_least(1), default=2, metavar="N",
        help="nodes the run trains on, an agent each (2)")
    add("--ranks-per-node", type=_at_least(1), default=2, metavar="M",
        help="training processes a node (2)")
    add("--spares", type=_at_least(0), default=1, metavar="S",
        help="further agents, to take the place of a lost node (1)")
    add("--faults", default=DEFAULT_FAULTS, metavar="FILE|none",
        help="fault script, TOML (%s)" % os.path.relpath(DEFAULT_FAULTS))
    add("--report", default="", metavar="FILE.json",
        help="write the stability report there, as JSON")
    add("--seed", type=int, default=1, metavar="K",
        help="of the training, and of faults without a target (1)")
    add("--exit", action="store_true",
        help="leave at the end; else the status page stays until Ctrl-C")
    add("--work-dir", default="", metavar="DIR",
        help="databases, logs, checkpoints (a new folder of /tmp, kept)")
    add("--policy", default="", metavar="FILE",
        help="policy of the run, TOML (the built-in default)")
    add("--checkpoint-every", type=_at_least(1), default=50, metavar="N",
        help="steps between checkpoints (50)")
    add("--no-reference", action="store_true",
        help="do not train once more, unbroken, to compare the parameters")
    add("--port-base", type=_at_least(1), default=7070, metavar="PORT",
        help="gRPC here and HTTP 10 above, or free ports if taken (7070)")
    add("--bin-dir", default="", help=argparse.SUPPRESS)
    add("--check", action="store_true", help=argparse.SUPPRESS)
    return parser


def parse(arguments):
    """Options with `fault_list`; leaves with 2 and a message if refused."""
    parser = make_parser()
    options = parser.parse_args(arguments)
    options.fault_list = []
    if options.faults != "none":
        try:
            options.fault_list = fault_script.load(options.faults)
        except fault_script.FaultScriptError as error:
            parser.exit(2, "%s\n" % error)
    if options.policy and not os.path.isfile(options.policy):
        parser.exit(2, "%s: no such policy file\n" % options.policy)
    if options.report:
        folder = os.path.dirname(os.path.abspath(options.report))
        if not os.path.isdir(folder):
            parser.exit(2, "--report %s: no folder %s\n"
                        % (options.report, folder))
    if any(fault.kind == "fill_disk" for fault in options.fault_list):
        if os.geteuid() != 0:
            parser.exit(2, "%s: fill_disk mounts a small disk, which needs"
                        " root; take it out or run as root\n" % options.faults)
    if not options.bin_dir:
        root = os.path.dirname(os.path.dirname(os.path.dirname(HERE)))
        options.bin_dir = os.path.join(root, "build", "release", "bin")
    return options
