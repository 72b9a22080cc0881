"""wgmesh.toml and node.toml: defaults, wrong shapes, and there and back."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.test_files import entries
from wgmesh import settings
from wgmesh.errors import NotJoinedError, WgmeshError
from wgmesh.settings import Anchor, Enrolment, Settings, load_enrolment, load_settings

# ---------------------------------------------------------------- policy


def policy(tmp_path: Path, text: str) -> Settings:
    path = tmp_path / "wgmesh.toml"
    path.write_text(text)
    return load_settings(path)


def test_defaults_are_the_contracts(tmp_path: Path) -> None:
    assert load_settings(tmp_path / "none.toml") == policy(tmp_path, "# all comments\n")
    found = load_settings(tmp_path / "none.toml")
    assert found.poll_interval_seconds == 60
    assert found.random_delay_seconds == 15
    assert found.stale_after_seconds == 3600
    assert found.peer_lag_seconds == 24 * 3600
    assert (
        found.confirm_most_seconds,
        found.confirm_silent_seconds,
        found.confirm_minority_seconds,
    ) == (16, 26, 45)
    assert found.confirm_again_seconds == 200
    assert found.allow_hooks is False
    assert found.drift == "report"
    assert found.firewall == "auto"
    assert found.keep_generations == 10
    assert not found.notify
    assert found.metrics == "/var/lib/prometheus/node-exporter/wgmesh.prom"


def test_values(tmp_path: Path) -> None:
    text = 'poll_interval_seconds = 5\nallow_hooks = true\ndrift = "repair"\n'
    assert policy(tmp_path, text) == Settings(
        poll_interval_seconds=5, allow_hooks=True, drift="repair"
    )
    assert policy(tmp_path, "random_delay_seconds = 0\n").random_delay_seconds == 0
    assert policy(tmp_path, "keep_generations = 2\n").keep_generations == 2
    assert policy(tmp_path, 'metrics = ""\n').metrics == ""
    assert policy(tmp_path, "notify = \"tell 'the admins'\"\n").notify == "tell 'the admins'"
    assert policy(tmp_path, 'notify = " "\n').notify == " "


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("poll_interval = 60\n", "poll_interval"),
        ("[poll_interval_seconds]\n", "poll_interval_seconds"),
        ("poll_interval_seconds = 60.0\n", "poll_interval_seconds"),
        ("poll_interval_seconds = true\n", "poll_interval_seconds"),
        ('poll_interval_seconds = "60"\n', "poll_interval_seconds"),
        ("poll_interval_seconds = 0\n", "poll_interval_seconds"),
        ("poll_interval_seconds = -5\n", "poll_interval_seconds"),
        ("poll_interval_seconds = [60]\n", "poll_interval_seconds"),
        ("poll_interval_seconds = 2026-01-01\n", "poll_interval_seconds"),
        ("random_delay_seconds = -1\n", "random_delay_seconds"),
        ("keep_generations = 1\n", "keep_generations"),
        ("allow_hooks = 1\n", "allow_hooks"),
        ('allow_hooks = "false"\n', "allow_hooks"),
        ('exempt = ["nowhere"]\n', "exempt"),
        ("exempt = 5\n", "exempt"),
        ('exit_sources = ["eth1; reboot"]\n', "exit_sources"),
        ('exit_sources = ["a-name-too-long-x"]\n', "exit_sources"),
        ("exit_sources = [5]\n", "exit_sources"),
        ('exit_sources = "eth1"\n', "exit_sources"),
        ('drift = "mend"\n', "drift"),
        ("drift = true\n", "drift"),
        ('firewall = "none"\n', "firewall"),
        ("notify = [ 'a' ]\n", "notify"),
        ("notify = 5\n", "notify"),
        ('notify = "tell \'the admins"\n', "notify"),
        ('metrics = "wgmesh.prom"\n', "metrics"),
        ('metrics = "/dev/null"\n', "metrics"),
        ('metrics = "/srv/metrics/"\n', "metrics"),
        ('metrics = "/srv/\\u0000.prom"\n', "metrics"),
        ('notify = "\\u0000x"\n', "notify"),
        ("poll_interval_seconds = 604801\n", "poll_interval_seconds"),
        ("poll_interval_seconds = 99999999999999999999\n", "poll_interval_seconds"),
        (f"poll_interval_seconds = {'9' * 5000}\n", "wgmesh.toml"),
        ("random_delay_seconds = 99999999999999999999\n", "random_delay_seconds"),
        ("stale_after_seconds = 99999999999999999999\n", "stale_after_seconds"),
        ("peer_lag_seconds = 99999999999999999999\n", "peer_lag_seconds"),
        ("confirm_minority_seconds = 301\n", "confirm_minority_seconds"),
        ("keep_generations = 99999999999999999999\n", "keep_generations"),
        (f"notify = {'[' * 5000}\n", "wgmesh.toml"),
        ("metrics = false\n", "metrics"),
        ('"" = 5\n', "''"),
        ("[mesh]\n", "mesh"),
        ("peer_lag_seconds = 1\npeer_lag_seconds = 2\n", "wgmesh.toml"),
        ("poll_interval_seconds =\n", "wgmesh.toml"),
        ("\0", "wgmesh.toml"),
    ],
)
def test_what_means_nothing_is_refused(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(WgmeshError) as caught:
        policy(tmp_path, text)
    assert said in caught.value.message
    assert str(tmp_path / "wgmesh.toml") in caught.value.message
    assert caught.value.hint


def test_the_largest_numbers(tmp_path: Path) -> None:
    with pytest.raises(WgmeshError, match="too large") as caught:
        policy(tmp_path, "poll_interval_seconds = 999999999\n")
    assert "604800" in caught.value.hint
    assert policy(tmp_path, "poll_interval_seconds = 604800\n").poll_interval_seconds == 604800


@pytest.mark.parametrize("load", [load_settings, load_enrolment])
@pytest.mark.parametrize("name", ["a directory", "a loop", "below a file"])
def test_what_is_no_file(
    tmp_path: Path, name: str, load: Callable[[Path], Settings | Enrolment]
) -> None:
    (tmp_path / "a directory").mkdir()
    (tmp_path / "a loop").symlink_to("a loop")
    (tmp_path / "below").write_text("")
    path = tmp_path / ("below/a file" if name == "below a file" else name)
    with pytest.raises(WgmeshError, match="cannot be read") as caught:
        load(path)
    assert str(path) in caught.value.message and caught.value.hint
    assert not isinstance(caught.value, NotJoinedError)


def test_did_you_mean(tmp_path: Path) -> None:
    with pytest.raises(WgmeshError) as caught:
        policy(tmp_path, "poll_intervall_seconds = 60\n")
    assert "poll_interval_seconds" in caught.value.hint


def test_windows_in_the_wrong_order_are_refused(tmp_path: Path) -> None:
    # A minority must be given longer than a majority: else neighbours undo each other's work.
    with pytest.raises(WgmeshError):
        policy(tmp_path, "confirm_most_seconds = 60\nconfirm_minority_seconds = 10\n")


@given(st.binary(max_size=80))
def test_any_bytes(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_bytes(data)
    for load in (load_settings, load_enrolment):
        try:
            load(path)
        except WgmeshError as error:
            assert error.message


# ---------------------------------------------------------------- enrolment

HERE = Enrolment(
    node="alpha",
    remotes=("https://git.example.com/mesh.git", "ssh://git@mirror.example.com/mesh.git"),
    branch="main",
    path=".",
    interface="wg0",
    anchor=Anchor("c" * 40, "SHA256:" + "x" * 43),
)

SSH, OPENPGP = "SHA256:" + "A" * 43, "AB" * 20
ANCHORED = replace(HERE, anchor=replace(HERE.anchor, after_generation=0))

WHOLE = f"""
node = "alpha"
remotes = ["https://git.example.com/mesh.git"]
branch = "main"
path = "."
interface = "wg0"
revoked = []
[anchor]
commit = "{"c" * 40}"
fingerprint = "SHA256:x"
"""


def enrolment(tmp_path: Path, text: str) -> Enrolment:
    path = tmp_path / "node.toml"
    path.write_text(text)
    return load_enrolment(path)


@pytest.mark.parametrize("value", [HERE, replace(HERE, revoked=(SSH, OPENPGP)), ANCHORED])
def test_enrolment_there_and_back(tmp_path: Path, value: Enrolment) -> None:
    path = tmp_path / "wgmesh" / "node.toml"
    settings.save_enrolment(value, path)
    assert load_enrolment(path) == value
    assert path.read_text().startswith("#"), "it says who wrote it"
    settings.remove_enrolment(path)
    assert entries(path.parent) == []
    settings.remove_enrolment(path)
    with pytest.raises(NotJoinedError):
        load_enrolment(path)


def test_no_enrolment_is_exit_8(tmp_path: Path) -> None:
    with pytest.raises(NotJoinedError) as caught:
        load_enrolment(tmp_path / "node.toml")
    assert caught.value.exit_code == 8
    assert "wgmesh join" in caught.value.hint


def test_the_key_lies_beside(tmp_path: Path) -> None:
    assert enrolment(tmp_path, WHOLE).key_path == Path("/etc/wireguard/wg0.key")
    assert enrolment(tmp_path, WHOLE.replace("revoked = []\n", "")).revoked == ()


@pytest.mark.parametrize(
    "name", ["node", "remotes", "branch", "path", "interface", "commit", "fingerprint", "[anchor]"]
)
def test_a_missing_part(tmp_path: Path, name: str) -> None:
    text = "".join(line for line in WHOLE.splitlines(True) if not line.startswith(name))
    with pytest.raises(WgmeshError) as caught:
        enrolment(tmp_path, text)
    assert not isinstance(caught.value, NotJoinedError), "damaged is not absent"
    assert "node.toml" in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('node = "alpha"', "node = 5"),
        ('node = "alpha"', "node = []"),
        ('branch = "main"', "branch = true"),
        ('path = "."', "path = 1.5"),
        ('interface = "wg0"', 'interface = ["wg0"]'),
        # one text is no list of texts: never a remote for each letter
        ('remotes = ["https://git.example.com/mesh.git"]', 'remotes = "https://a.example/b"'),
        ('remotes = ["https://git.example.com/mesh.git"]', "remotes = [5]"),
        ('remotes = ["https://git.example.com/mesh.git"]', "remotes = 5"),
        ('remotes = ["https://git.example.com/mesh.git"]', "remotes = []"),
        # nor a revocation that revokes nothing
        ("revoked = []", 'revoked = "SHA256:abc"'),
        ("revoked = []", "revoked = [5]"),
        ("revoked = []", "revoked = true"),
        ("revoked = []", 'revoked = ["SHA256:abc"]'),
        ("revoked = []", f'revoked = ["{"AB" * 19}"]'),
        ('remotes = ["https', 'remotes = ["https://git.example.com/mesh.git", "https'),
        ('remotes = ["https', f'remotes = {[f"/srv/{n}" for n in range(9)]}\n#["https'),
        ('fingerprint = "SHA256:x"', "fingerprint = 5"),
        ('fingerprint = "SHA256:x"', "fingerprint = {}"),
    ],
)
def test_a_wrong_shape(tmp_path: Path, old: str, new: str) -> None:
    assert old in WHOLE
    with pytest.raises(WgmeshError) as caught:
        enrolment(tmp_path, WHOLE.replace(old, new))
    assert "node.toml" in caught.value.message


@pytest.mark.parametrize("anchor", ["anchor = 5", 'anchor = "c"', "anchor = []", "[[anchor]]"])
def test_an_anchor_that_is_no_table(tmp_path: Path, anchor: str) -> None:
    text = WHOLE.partition("[anchor]")[0] + anchor + "\n"
    with pytest.raises(WgmeshError) as caught:
        enrolment(tmp_path, text)
    assert "anchor" in caught.value.message


def test_a_damaged_enrolment_cut_short(tmp_path: Path) -> None:
    path = tmp_path / "node.toml"
    settings.save_enrolment(HERE, path)
    whole = path.read_bytes()
    for length in range(len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(WgmeshError):
            load_enrolment(path)
