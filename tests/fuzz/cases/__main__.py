"""`python -m tests.fuzz.cases FILE`: a crasher in the form of a case."""

import sys
from pathlib import Path

from tests.fuzz.cases import spell

sys.stdout.write(spell(Path(sys.argv[1]).read_bytes()))
