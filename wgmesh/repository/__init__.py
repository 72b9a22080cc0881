"""Git: one bare repository per node, fetched into, and read by object id without any work tree."""

from wgmesh.repository.bare import Repository
from wgmesh.repository.inventory_files import files_at
from wgmesh.repository.remote import check_branch, check_remote

__all__ = ["Repository", "check_branch", "check_remote", "files_at"]
