"""What the checks say, and what the parts of the assignments are worth: read from words.toml."""

import tomllib
from pathlib import Path

PATH = Path(__file__).with_suffix(".toml")
SAID = tomllib.loads(PATH.read_text(encoding="utf-8"))
