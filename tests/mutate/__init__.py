"""Mutation testing of wgmesh/trust/: `make mutants`, by hand."""
