"""The laboratory: nodes, an internet and a git forge in namespaces, with real components."""
