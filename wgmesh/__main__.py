"""`python -m wgmesh`."""

import sys

from wgmesh.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
