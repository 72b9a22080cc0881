"""Inventory to NodePlan: one node's share of the mesh, and what its links are made of."""

from wgmesh.mesh.plan import find_node, plan

__all__ = ["find_node", "plan"]
