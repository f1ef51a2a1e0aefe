import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(HERE)))
sys.path.insert(0, os.path.join(ROOT, "agent", "python"))

from quickstart.driver import main  # noqa: E402

sys.exit(main(sys.argv[1:]))
