"""Where a transaction writes."""

from pathlib import Path

from wgmesh.frozen import frozen


@frozen
class Places:
    """Where a transaction writes."""

    generations: Path
    wireguard: Path
    run: Path
    state: Path

    @property
    def journal(self) -> Path:
        """The record of the transaction in flight."""
        return self.state / "journal.toml"

    @property
    def snapshot(self) -> Path:
        """The live state from before it."""
        return self.run / "snapshot.json"
