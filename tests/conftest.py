"""Settings of the whole suite: every graph and loop program is verified after every pass."""

import sys
from pathlib import Path

from jitgrad import config

# Test modules share helpers (`tests.fuzz`, ...) and the corpus of the benchmarks. At the end of the path, so that the
# installed package is the one that is tested.
sys.path.append(str(Path(__file__).resolve().parent.parent))

config.update(verify=True)
