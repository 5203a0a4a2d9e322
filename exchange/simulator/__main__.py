"""`python -m exchange.simulator`: the simulated exchange without Django, which starts in a fifth of the time."""

import argparse
import logging
import sys
from pathlib import Path

from exchange.simulator.command import add_arguments, run

parser = argparse.ArgumentParser(prog="python -m exchange.simulator", description=__doc__)
add_arguments(parser, port=8100, data_dir=Path(".local/exchange"))
logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")
sys.exit(run(vars(parser.parse_args())))
