"""Which commit a node may run: signatures, signers, and the chain rule that joins them."""
