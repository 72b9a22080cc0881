"""The CI files of a new inventory: validate each change, plan each pull request.

What a pull request brings reaches no shell: names of branches come in as quoted variables.
"""

SOURCE = "git+https://github.com/wgmesh/wgmesh"

GITHUB = f"""\
# Is the inventory valid, and is a change safe in whatever order the nodes apply it?
name: wgmesh
on:
  pull_request:
  push:
    branches: [main]
permissions:
  contents: read
jobs:
  inventory:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v4
        with:
          fetch-depth: 0
      - run: pipx install "wgmesh @ {SOURCE}"
      - run: wgmesh validate --format github
      - if: github.event_name == 'pull_request'
        run: |
          wgmesh plan --base "origin/$GITHUB_BASE_REF" --format markdown >> "$GITHUB_STEP_SUMMARY"
"""

GITLAB = f"""\
# Is the inventory valid, and is a change safe in whatever order the nodes apply it?
inventory:
  image: python:3.13
  variables:
    GIT_DEPTH: 0
  rules:
    - if: $CI_PIPELINE_SOURCE == "merge_request_event"
    - if: $CI_COMMIT_BRANCH == $CI_DEFAULT_BRANCH
  script:
    - pip install --quiet "wgmesh @ {SOURCE}"
    - wgmesh validate
    - |
      if [ -n "$CI_MERGE_REQUEST_DIFF_BASE_SHA" ]; then
        wgmesh plan --base "$CI_MERGE_REQUEST_DIFF_BASE_SHA"
      fi
"""

FILES = {
    ".github/workflows/wgmesh.yml": GITHUB.encode(),
    ".gitlab-ci.yml": GITLAB.encode(),
}
