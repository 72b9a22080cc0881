"""Inventory to NodePlan: one node's share of the mesh, and what its links are made of."""
