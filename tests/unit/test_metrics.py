"""The metrics: text that Prometheus reads; a dashboard and alerts that ask for what is there."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from tests.unit.test_status import (
    BRAVO,
    DOWN,
    FRESH,
    MOVED,
    NOW,
    PRIVATE,
    WELL,
    commit,
    peer,
    running,
    seen,
)
from wgmesh import __version__
from wgmesh.agent.gathered import Gathered
from wgmesh.agent.metrics import OUTCOMES, exposition, write
from wgmesh.agent.status import STATES, assemble
from wgmesh.history import Exit, Hubs
from wgmesh.model.plan import ExitCandidate, ExitPlan
from wgmesh.model.terms import ExitPolicy, OnNoExit
from wgmesh.process import SAFE_PATH
from wgmesh.quarantine import Quarantined
from wgmesh.remembered import Hold, LastSync, Tips, Verdict
from wgmesh.select import Standing

DOCS = Path(__file__).parents[2] / "docs"
DASHBOARD = DOCS / "monitoring" / "wgmesh-dashboard.json"
ALERTS = DOCS / "monitoring" / "wgmesh-alerts.yml"
PROMTOOL = shutil.which("promtool", path=f"{Path(sys.executable).parent}:{SAFE_PATH}") or ""
needs_promtool = pytest.mark.skipif(not PROMTOOL, reason="promtool is in package prometheus")
NAME = re.compile(r"\bwgmesh_[a-z_]+")


def text(have: Gathered) -> str:
    return exposition(have, assemble(have, NOW), NOW)


def read(have: Gathered) -> dict[str, Metric]:
    """Return the families by name, as Prometheus' own parser reads them."""
    families = list(text_string_to_metric_families(text(have)))
    names = [family.name for family in families]
    assert len(names) == len(set(names)), "each family comes once"
    return {family.name: family for family in families}


def values(have: Gathered, name: str) -> dict[str, float]:
    """Return the values of a family by their labels' values, "" without labels."""
    family = read(have).get(name)
    samples = family.samples if family is not None else ()
    return {" ".join(sample.labels.values()): sample.value for sample in samples}


def with_exits(have: Gathered, *, carries: bool) -> Gathered:
    """Return `have` with bravo as a candidate for an exit, which carries the default route."""
    candidate = ExitCandidate("bravo", "bravo-key", (ip_address("10.40.0.2"),))
    plan = ExitPlan((candidate,), None, ExitPolicy.LATENCY, 20, (), OnNoExit.BLOCK)
    assert have.running is not None and have.running.plan is not None
    assert have.seen is not None and have.seen.state.link is not None
    link = have.seen.state.link
    allowed = frozenset({ip_network("0.0.0.0/0")} if carries else set())
    live = replace(link.peers["bravo-key"], allowed_ips=allowed)
    state = replace(have.seen.state, link=replace(link, peers={"bravo-key": live}))
    return replace(
        have,
        running=replace(have.running, plan=replace(have.running.plan, exits=plan)),
        seen=replace(have.seen, state=state),
    )


def in_a_star(have: Gathered) -> Gathered:
    return replace(have, running=running(peer("bravo", allowed=("10.40.0.0/24",))))


def test_all_is_well() -> None:
    assert values(WELL, "wgmesh_info") == {f"alpha wg0 {__version__}": 1}
    assert values(WELL, "wgmesh_peer_up") == {"bravo": 1}
    assert values(WELL, "wgmesh_peer_may_be_down") == {"bravo": 0}
    assert values(WELL, "wgmesh_peer_handshake_age_seconds") == {"bravo": 10}
    assert values(WELL, "wgmesh_peer_receive_bytes") == {"bravo": 1000}
    assert values(WELL, "wgmesh_peer_transmit_bytes") == {"bravo": 2000}
    assert values(WELL, "wgmesh_peer_rtt_seconds") == {"bravo": 0.001235}
    assert values(WELL, "wgmesh_generation") == {"": 3}
    assert values(WELL, "wgmesh_commit_info") == {"a" * 40: 1}
    assert values(WELL, "wgmesh_commit_timestamp_seconds") == {"": NOW - 500}
    assert values(WELL, "wgmesh_last_sync_timestamp_seconds") == {"": NOW - 30}
    assert values(WELL, "wgmesh_last_fetch_timestamp_seconds") == {"": NOW - 30}
    for name in ("held", "stale", "candidate", "quarantined", "drift"):
        assert values(WELL, f"wgmesh_{name}") == {"": 0}


@pytest.mark.parametrize(
    ("have", "state"),
    [
        (WELL, "in-sync"),
        (DOWN, "degraded"),
        (replace(WELL, verdict=Verdict("refused", "b" * 40, "r", "h", NOW)), "refused"),
        (replace(WELL, hold=Hold("h", NOW)), "held"),
        (FRESH, "pending"),
    ],
)
def test_state_is_one_of_all(have: Gathered, state: str) -> None:
    assert values(have, "wgmesh_state") == {name: int(name == state) for name in STATES}


@pytest.mark.parametrize("outcome", [*OUTCOMES, "of a later version"])
def test_outcome_is_one_of_all(outcome: str) -> None:
    found = values(replace(WELL, last=LastSync(NOW, outcome)), "wgmesh_last_sync_outcome")
    assert found == dict.fromkeys(OUTCOMES, 0) | {outcome: 1}


def test_what_is_not_known_is_absent() -> None:
    found = read(FRESH)
    for name in ("generation", "commit_info", "peer_up", "last_sync_outcome", "stale"):
        assert f"wgmesh_{name}" not in found
    unknown = replace(WELL, seen=seen(handshake=0), rtt_ms={}, probed_at=0)
    assert values(unknown, "wgmesh_peer_up") == {}
    assert values(unknown, "wgmesh_peer_handshake_age_seconds") == {}
    assert "wgmesh_exit_active" not in read(WELL)
    assert "wgmesh_hub_active" not in read(WELL)


def test_a_peer_that_is_down() -> None:
    assert values(DOWN, "wgmesh_peer_up") == {"bravo": 0}
    sleepy = replace(BRAVO, intermittent=True)
    have = replace(DOWN, running=running(sleepy))
    assert values(have, "wgmesh_peer_up") == {"bravo": 0}
    assert values(have, "wgmesh_peer_may_be_down") == {"bravo": 1}


def test_stale() -> None:
    old = replace(WELL, last=LastSync(NOW, "unreachable", "", "", NOW - 3601))
    assert values(old, "wgmesh_stale") == {"": 1}
    assert values(replace(WELL, last=LastSync(NOW, "unreachable")), "wgmesh_stale") == {"": 1}


def test_counts() -> None:
    harm = Quarantined("d", "b" * 40, "s", "r", NOW, harms=1)
    have = replace(
        WELL,
        quarantine=(harm, replace(harm, digest="e", until=NOW - 1)),
        drift=("a", "b"),
        hold=Hold("h", NOW),
        tips=Tips(commit("b"), commit("a"), "d"),
    )
    assert values(have, "wgmesh_quarantined") == {"": 1}
    assert values(have, "wgmesh_drift") == {"": 2}
    assert values(have, "wgmesh_held") == {"": 1}
    assert values(have, "wgmesh_candidate") == {"": 1}


@pytest.mark.parametrize("carries", [True, False])
def test_exit_and_hub(carries: bool) -> None:
    assert values(with_exits(WELL, carries=carries), "wgmesh_exit_active") == {"bravo": carries}
    assert values(in_a_star(WELL), "wgmesh_hub_active") == {"bravo": 1}


@given(st.text(st.characters(codec="utf-8"), max_size=12))
def test_any_name_is_read_back(name: str) -> None:
    enrolment = replace(WELL.me.enrolment, node=name)
    have = replace(WELL, me=replace(WELL.me, enrolment=enrolment))
    (sample,) = read(have)["wgmesh_info"].samples
    assert sample.labels["node"] == name


def test_no_secret() -> None:
    assert PRIVATE not in text(WELL)


def test_written_only_where_the_exporter_reads(tmp_path: Path) -> None:
    report = assemble(WELL, NOW)
    write(tmp_path / "none" / "wgmesh.prom", WELL, report, NOW)
    assert list(tmp_path.iterdir()) == []
    write(tmp_path / "wgmesh.prom", WELL, report, NOW)
    assert (tmp_path / "wgmesh.prom").read_text() == text(WELL)
    assert (tmp_path / "wgmesh.prom").stat().st_mode & 0o777 == 0o644
    assert [path.name for path in tmp_path.iterdir()] == ["wgmesh.prom"]


def test_a_file_that_cannot_be_written_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "wgmesh.prom").mkdir()
    write(tmp_path / "wgmesh.prom", WELL, assemble(WELL, NOW), NOW)
    assert "wgmesh.prom is no plain file" in caplog.text


# ---------------------------------------------------------------- dashboard and alerts


AT_HUB = replace(
    MOVED,
    failover=replace(
        MOVED.failover,
        hubs=Hubs(hubs=(Exit("hub", "K", "10.40.0.9", ()),), standing=Standing("hub", switches=2)),
    ),
)
MOVED_FAMILIES = ((MOVED, "failovers"), (MOVED, "endpoint_chosen"), (AT_HUB, "hub_switches"))


def test_moves_are_counted_and_shown() -> None:
    assert values(MOVED, "wgmesh_failovers") == {"bravo": 3}
    assert values(MOVED, "wgmesh_endpoint_chosen") == {"bravo": 1}
    assert values(WELL, "wgmesh_failovers") == {}


def exported() -> set[str]:
    """Return every name that some node exports."""
    have = with_exits(WELL, carries=True)
    found = {sample.name for family in read(have).values() for sample in family.samples}
    for other, family in ((in_a_star(WELL), "hub_active"), *MOVED_FAMILIES):
        found |= {sample.name for sample in read(other)[f"wgmesh_{family}"].samples}
    return found


def queries(value: Any) -> Iterator[str]:  # noqa: ANN401 - JSON
    """Yield what a dashboard asks Prometheus for."""
    if isinstance(value, dict):
        for key, below in value.items():
            if key in ("expr", "definition") and isinstance(below, str):
                yield below
            else:
                yield from queries(below)
    elif isinstance(value, list):
        for below in value:
            yield from queries(below)


def rules() -> list[dict[str, Any]]:
    groups: list[dict[str, Any]] = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def test_the_dashboard_asks_for_what_is_exported() -> None:
    dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    asked = list(queries(dashboard))
    targets = [target for panel in dashboard["panels"] for target in panel["targets"]]
    assert len(asked) == len(targets) + 2, "each panel, the variable and the annotation"
    for query in asked:
        names = set(NAME.findall(query))
        assert names and names <= exported(), query
    assert set().union(*(NAME.findall(query) for query in asked)) == exported()
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(ids) == len(set(ids))


def test_panels_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken and max(x for x, _ in cells) < 24
        taken |= cells


def test_alerts_ask_for_what_is_exported() -> None:
    assert len({rule["alert"] for rule in rules()}) == len(rules())
    for rule in rules():
        names = set(NAME.findall(rule["expr"]))
        assert names and names <= exported(), rule["alert"]
        states = re.findall(r'state="([^"]*)"', rule["expr"])
        assert set(states) <= set(STATES)
        assert rule["labels"]["severity"] in ("info", "warning", "critical")
        assert rule["annotations"].keys() == {"summary", "description"}


def test_there_is_an_alert_for_each_state_that_needs_a_person() -> None:
    asked = " ".join(rule["expr"] for rule in rules())
    for state in ("refused", "invalid", "rolled-back", "removed", "degraded"):
        assert f'state="{state}"' in asked
    assert "wgmesh_peer_up" in asked and "wgmesh_stale" in asked


def test_the_page_names_every_metric_and_alert() -> None:
    page = (DOCS / "monitoring.md").read_text(encoding="utf-8")
    assert exported() == set(NAME.findall(page))
    assert {rule["alert"] for rule in rules()} == set(re.findall(r"`(Wgmesh\w+)`", page))


@needs_promtool
@pytest.mark.parametrize("have", [WELL, FRESH, DOWN, in_a_star(WELL)])
def test_promtool_finds_nothing(have: Gathered) -> None:
    done = subprocess.run(
        [PROMTOOL, "check", "metrics"], input=text(have), capture_output=True, text=True
    )
    assert (done.returncode, done.stderr + done.stdout) == (0, "")


@needs_promtool
def test_promtool_takes_the_rules() -> None:
    subprocess.run([PROMTOOL, "check", "rules", ALERTS], check=True, capture_output=True)


TEST_RULES = """\
rule_files: [RULES]
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series:
      - {series: 'wgmesh_peer_up{instance="a",peer="b"}', values: '1+0x5 0+0x60'}
      - {series: 'wgmesh_peer_up{instance="a",peer="c"}', values: '0+0x66'}
      - {series: 'wgmesh_peer_may_be_down{instance="a",peer="b"}', values: '0+0x66'}
      - {series: 'wgmesh_peer_may_be_down{instance="a",peer="c"}', values: '1+0x66'}
      - {series: 'wgmesh_state{instance="a",state="refused"}', values: '0+0x20 1+0x40'}
      - {series: 'wgmesh_last_sync_timestamp_seconds{instance="a"}', values: '0+60x30 1800+0x30'}
      - {series: 'wgmesh_candidate{instance="a"}', values: '1+0x66'}
      - {series: 'wgmesh_held{instance="a"}', values: '0+0x66'}
      - {series: 'wgmesh_last_sync_outcome{instance="a",outcome="waiting"}', values: '1+0x10 0x50'}
      - {series: 'wgmesh_last_sync_outcome{instance="a",outcome="held"}', values: '0+0x66'}
    alert_rule_test:
      - {eval_time: 35m, alertname: WgmeshBehind, exp_alerts: []}
      - eval_time: 45m
        alertname: WgmeshBehind
        exp_alerts: [{exp_labels: {severity: warning, instance: a}}]
      - {eval_time: 15m, alertname: WgmeshPeerDown, exp_alerts: []}
      - eval_time: 17m
        alertname: WgmeshPeerDown
        exp_alerts: [{exp_labels: {severity: warning, instance: a, peer: b}}]
      - {eval_time: 8m, alertname: WgmeshNodeCutOff, exp_alerts: []}
      - eval_time: 12m
        alertname: WgmeshNodeCutOff
        exp_alerts: [{exp_labels: {severity: critical, instance: a}}]
      - {eval_time: 20m, alertname: WgmeshRefused, exp_alerts: []}
      - eval_time: 21m
        alertname: WgmeshRefused
        exp_alerts: [{exp_labels: {severity: critical, instance: a, state: refused}}]
      - {eval_time: 40m, alertname: WgmeshNotRunning, exp_alerts: []}
      - eval_time: 52m
        alertname: WgmeshNotRunning
        exp_alerts: [{exp_labels: {severity: warning, instance: a}}]
"""


CUT_OFF = """\
  - interval: 1m
    input_series: [SERIES]
    alert_rule_test: [{eval_time: 20m, alertname: WgmeshNodeCutOff, exp_alerts: [EXPECTED]}]
"""
FIRED = "{exp_labels: {severity: critical, instance: a}}"


def cut_off(peers: str, *, fires: bool) -> str:
    """Return a promtool test: `peers` are words such as "hub:up" and "laptop:down?", ? may be."""
    series = []
    for word in peers.split():
        name, _, state = word.partition(":")
        labels = f'{{instance="a",peer="{name}"}}'
        if not state.startswith("unknown"):
            up = int(state.startswith("up"))
            series.append(f"{{series: 'wgmesh_peer_up{labels}', values: '{up}+0x30'}}")
        may = int(state.endswith("?"))
        series.append(f"{{series: 'wgmesh_peer_may_be_down{labels}', values: '{may}+0x30'}}")
    text = CUT_OFF.replace("SERIES", ", ".join(series))
    return text.replace("EXPECTED", FIRED if fires else "")


CUT_OFFS = (
    cut_off("hub:down", fires=True)  # a spoke with one hub, or a mesh of two
    + cut_off("hub:up", fires=False)
    + cut_off("one:down two:down", fires=True)
    + cut_off("one:down two:up", fires=False)
    + cut_off("laptop:down? phone:down?", fires=False)
    + cut_off("laptop:down? hub:down", fires=True)
    + cut_off("laptop:up? hub:down", fires=False)
    + cut_off("laptop:down? hub:up", fires=False)
    + cut_off("laptop:down? hub:unknown", fires=False)
    + cut_off("hub:down other:unknown", fires=True)
)


@needs_promtool
@pytest.mark.parametrize("tests", ["", CUT_OFFS], ids=["in time", "when a node is cut off"])
def test_alerts_fire_when_they_should(tmp_path: Path, tests: str) -> None:
    """With series that go wrong at known times; annotations are left out of the comparison."""
    groups = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))
    for group in groups["groups"]:
        for rule in group["rules"]:
            del rule["annotations"]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump(groups))
    (tmp_path / "test.yml").write_text(TEST_RULES.replace("RULES", "rules.yml") + tests)
    done = subprocess.run(
        [PROMTOOL, "test", "rules", tmp_path / "test.yml"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
