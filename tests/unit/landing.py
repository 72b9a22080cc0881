"""How a team lands a change, by git's commands and by commits that they would not make."""

from .team import ROLES, SIGNERS, Team

TWO = "approvals = 2\n" + ROLES
STRICTEST = 'approvals = 2\nside_commits = "signed"\nmainline = "merge"\n' + ROLES
TWO_ADMINS = ROLES.replace('"ops@example.com"]', '"ops@example.com", "ann@example.com"]')
EXPIRED = 'valid-before="20200101"'


def made_of(team: Team, tree: str, *parents: str, by: str) -> str:
    """Sign a commit of a tree and parents that git's commands would not make."""
    options = [word for each in parents for word in ("-p", team.work.git("rev-parse", each))]
    tree = team.work.git("rev-parse", f"{tree}^{{tree}}")
    return team.work.git("commit-tree", "-S", tree, *options, "-m", "Bring up to date", sign=by)


def put(team: Team, commit: str) -> str:
    """Have main be a commit, and publish it."""
    team.work.git("reset", "--quiet", "--hard", commit)
    return team.publish()


def branch_of(team: Team, name: str, commit: str) -> str:
    """Call a commit a branch; returns the name."""
    team.work.git("branch", "--force", name, commit)
    return name


def land(team: Team, name: str, by: str, approved_by: str) -> None:
    """Land a change as two people do."""
    team.branch(name)
    team.commit(name, {name: f"{name}\n"}, by=by)
    team.main()
    team.merge(name, by=approved_by)


def only_files(team: Team) -> set[str]:
    """Return the names of the files of main."""
    return set(team.work.git("ls-tree", "--name-only", "main").split())


def expire(team: Team, who: str) -> None:
    """Let a key have expired, and every node know it."""
    options = {who: EXPIRED}
    files = {SIGNERS: team.keys.signers("ops", "ann", "bob", "forge", **options)}
    team.branch("expiry")
    team.commit(f"{who} has expired", files, by="ops")
    team.approve("ann" if who != "ann" else "bob")
    team.main()
    team.merge("expiry", by="ops")
    team.settle()
