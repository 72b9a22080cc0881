"""Git: one bare repository per node, fetched into, and read by object id without any work tree."""

from wgmesh.repository.bare import Repository
from wgmesh.repository.bundle import MissingBaseError
from wgmesh.repository.checkout import commit_id, files_at, git_directory, trailer_words
from wgmesh.repository.inventory_files import LARGEST_FILE_BYTES, is_entry
from wgmesh.repository.reader import full_id
from wgmesh.repository.remote import advice, check_branch, check_remote, ssh_host

__all__ = [
    "LARGEST_FILE_BYTES",
    "MissingBaseError",
    "Repository",
    "advice",
    "check_branch",
    "check_remote",
    "commit_id",
    "files_at",
    "full_id",
    "git_directory",
    "is_entry",
    "ssh_host",
    "trailer_words",
]
