"""Tests of wgmesh: unit (fast, no root) and lab (root, real components in namespaces)."""
