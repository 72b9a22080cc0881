"""NodePlan to the files of a generation, and back."""

from wgmesh.render.parse import parse
from wgmesh.render.words import preshared
from wgmesh.render.write import digest, files

__all__ = ["digest", "files", "parse", "preshared"]
