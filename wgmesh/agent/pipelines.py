"""The CI files of a new inventory, and the hook of its first clone.

Each change is validated; each pull request planned, the plan a comment of it, and who signed its
commits shown; each merge judged as nodes will. What a pull request brings reaches no shell: names
of branches and commits come in as quoted variables. The token to comment with is not there for
what comes from a fork. What they install is the release that wrote them, not the newest of a day.
"""

from wgmesh import __version__

SOURCE = f"git+https://github.com/wgmesh/wgmesh@v{__version__}"

COMMENT = """\
import json, os, urllib.request
mark, place = "<!-- wgmesh plan -->", os.environ["COMMENTS"]
header = {"Content-Type": "application/json", os.environ["HEADER"]: os.environ["TOKEN"]}
def ask(method, url, value=None):
    data = None if value is None else json.dumps(value).encode()
    request = urllib.request.Request(url, data, header, method=method)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)
with open("plan.md", encoding="utf-8") as file:
    plan = file.read()[:60000]
if not plan:
    print("there is no plan: an earlier comment stays as it is")
    raise SystemExit
value = {"body": f"{mark}\\n{plan}"}
def mine(each):
    author = each.get("user") or each.get("author") or {}
    return each["body"].startswith(mark) and me == (author.get("login") or author.get("username"))
me = os.environ.get("ME") or ask("GET", os.environ["WHOAMI"])["username"]
old, page, some = [], 0, [None] * 100
while not old and len(some) == 100:
    page += 1
    some = ask("GET", f"{place}?per_page=100&page={page}")
    old = [each for each in some if mine(each)]
if old:
    ask(os.environ["METHOD"], old[0].get("url") or f"{place}/{old[0]['id']}", value)
else:
    ask("POST", place, value)
"""
"""Puts plan.md into a comment, its own from before if there is one; GitHub and GitLab alike. It is
empty when `plan` failed, which is no reason to lose the comment from before.

Anybody can write a comment that looks like it: only one of the token's own user is replaced.
"""

QUALITY = """\
import hashlib, json
with open("wgmesh.json", encoding="utf-8") as file:
    found = json.load(file)["problems"]
with open("gl-code-quality-report.json", "w", encoding="utf-8") as file:
    json.dump([{
        "description": f"{each['field'] or each['node'] or 'inventory'}: {each['message']}",
        "check_name": "wgmesh validate",
        "fingerprint": hashlib.sha256(json.dumps(each).encode()).hexdigest(),
        "severity": "blocker" if each["severity"] == "error" else "minor",
        "location": {"path": each["file"], "lines": {"begin": max(1, each["line"])}},
    } for each in found], file)
"""
"""Turns what `validate --format json` says into GitLab's notes on the lines."""


def _here(program: str, indent: int) -> str:
    """Return the lines that run a Python program, further in by `indent`."""
    lines = ["python3 - <<'END'", *program.splitlines(), "END"]
    return f"\n{' ' * indent}".join(lines) + "\n"


GITHUB = f"""\
# Is the inventory valid, is a change safe in whatever order the nodes apply it, who signed it?
name: wgmesh
on:
  pull_request:
  push:
    branches: [main]
permissions:
  contents: read
  pull-requests: write  # the plan is a comment
jobs:
  inventory:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v4
        with:
          fetch-depth: 0
          persist-credentials: false
      - name: Install
        run: pipx install "wgmesh @ {SOURCE}"
      - name: Validate
        run: wgmesh validate --format github
      - name: Plan
        id: plan
        if: github.event_name == 'pull_request'
        run: |
          code=0
          wgmesh plan --base "origin/$GITHUB_BASE_REF" --format markdown > plan.md || code=$?
          cat plan.md >> "$GITHUB_STEP_SUMMARY"
          exit "$code"
      - name: Comment
        if: >-
          ${{{{ !cancelled() && github.event_name == 'pull_request'
          && steps.plan.outcome != 'skipped'
          && github.event.pull_request.head.repo.full_name == github.repository }}}}
        env:
          COMMENTS: >-
            ${{{{ github.api_url }}}}/repos/${{{{ github.repository }}}}/issues/${{{{
            github.event.number }}}}/comments
          HEADER: Authorization
          TOKEN: Bearer ${{{{ github.token }}}}
          METHOD: PATCH
          ME: "github-actions[bot]"
        run: |
          {_here(COMMENT, 10)}\
      - name: Who signed the branch
        if: ${{{{ !cancelled() && github.event_name == 'pull_request' }}}}
        env:
          TIP: ${{{{ github.event.pull_request.head.sha }}}}
        run: wgmesh trust branch "$TIP" --base "origin/$GITHUB_BASE_REF"
      - name: What nodes say of the merge
        if: ${{{{ !cancelled() && github.event_name == 'push' }}}}
        env:
          BEFORE: ${{{{ github.event.before }}}}
        run: |
          case $BEFORE in
            *[!0]*) wgmesh trust verify HEAD --base "$BEFORE" ;;
          esac
"""

GITLAB = f"""\
# Is the inventory valid, is a change safe in whatever order the nodes apply it, who signed it?
# For the plan as a comment: a project access token (role Reporter, scope api), as the masked
# variable WGMESH_TOKEN.
inventory:
  image: python:3.13
  variables:
    GIT_DEPTH: 0
  rules:
    - if: $CI_PIPELINE_SOURCE == "merge_request_event"
    - if: $CI_COMMIT_BRANCH == $CI_DEFAULT_BRANCH
  artifacts:
    when: always
    reports:
      codequality: gl-code-quality-report.json
  script:
    - pip install --quiet "wgmesh @ {SOURCE}"
    - |
      code=0
      wgmesh validate --format json > wgmesh.json || code=$?
      [ -s wgmesh.json ] || exit "$code"  # no inventory that could have problems
      {_here(QUALITY, 6)}\
      [ "$code" = 0 ] || wgmesh validate
    - |
      code=0
      if [ -n "$CI_MERGE_REQUEST_DIFF_BASE_SHA" ]; then
        wgmesh plan --base "$CI_MERGE_REQUEST_DIFF_BASE_SHA" --format markdown > plan.md || code=$?
        cat plan.md
      fi
      if [ -n "$CI_MERGE_REQUEST_DIFF_BASE_SHA" ] && [ -n "$WGMESH_TOKEN" ]; then
        requests="$CI_API_V4_URL/projects/$CI_PROJECT_ID/merge_requests"
        export COMMENTS="$requests/$CI_MERGE_REQUEST_IID/notes" WHOAMI="$CI_API_V4_URL/user"
        export HEADER=PRIVATE-TOKEN TOKEN="$WGMESH_TOKEN" METHOD=PUT
        {_here(COMMENT, 6)}\
      fi
      exit "$code"
signatures:
  image: python:3.13
  variables:
    GIT_DEPTH: 0
  rules:
    - if: $CI_PIPELINE_SOURCE == "merge_request_event"
    - if: $CI_COMMIT_BRANCH == $CI_DEFAULT_BRANCH
  script:
    - pip install --quiet "wgmesh @ {SOURCE}"
    - |
      if [ -n "$CI_MERGE_REQUEST_DIFF_BASE_SHA" ]; then
        wgmesh trust branch "$CI_COMMIT_SHA" --base "$CI_MERGE_REQUEST_DIFF_BASE_SHA"
      else
        case $CI_COMMIT_BEFORE_SHA in
          *[!0]*) wgmesh trust verify "$CI_COMMIT_SHA" --base "$CI_COMMIT_BEFORE_SHA" ;;
        esac
      fi
"""

PRE_COMMIT = """\
# For those who use pre-commit (https://pre-commit.com): pre-commit install
repos:
  - repo: local
    hooks:
      - id: wgmesh
        name: wgmesh validate
        entry: wgmesh validate
        language: system
        files: ^(mesh\\.toml|mesh\\.conf|nodes/.*\\.toml)$
        pass_filenames: false
"""

HOOK = """\
#!/bin/sh
# Written by `wgmesh init`: no commit of an invalid inventory. What is staged counts.
set -eu
if ! command -v wgmesh >/dev/null; then
    echo "wgmesh is not in PATH: what is committed was not validated" >&2
    exit 0
fi
staged=$(mktemp -d)
trap 'rm -rf "$staged"' EXIT
git checkout-index --all --prefix="$staged/"
cd "$staged"
wgmesh validate >/dev/null
"""

FILES = {
    ".github/workflows/wgmesh.yml": GITHUB.encode(),
    ".gitlab-ci.yml": GITLAB.encode(),
    ".pre-commit-config.yaml": PRE_COMMIT.encode(),
}
