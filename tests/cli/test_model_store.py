from __future__ import annotations

import functools
import json
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import edge_agent as package
from edge_agent.inference.bundle import pack, read_bundle
from tests.cli.command import Done, assert_one_line_and_hint, edge_agent
from tests.fleet.repository.workplace import Workplace
from tests.tiny_bundle import build_tiny_bundle
from tests.update.toy import tree
from tests.update.tuf_repository import TufRepository


@pytest.fixture(scope="module")
def zips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Bundles of ``tiny`` by version; 6.6.6 answers wrongly."""
    folder = tmp_path_factory.mktemp("zips")
    found = {}
    for version in ("1.0.0", "1.1.0", "6.6.6"):
        built = build_tiny_bundle(folder / version, version=version, wrong_golden=version == "6.6.6")
        found[version] = pack(built, folder / f"tiny-{version}.edgemodel")
    return found


class Machine:
    """A machine with a folder of models and a state folder."""

    def __init__(self, folder: Path) -> None:
        self.models, self.state = folder / "models", folder / "state"

    def run(self, *arguments: str | Path) -> Done:
        environment = {
            "EDGE_AGENT_MODELS__DIRECTORIES": json.dumps([str(self.models)]),
            "EDGE_AGENT_DEVICE__STATE_DIRECTORY": str(self.state),
            "EDGE_AGENT_DEVICE__ID": "under-test",
        }
        return edge_agent("model", *arguments, environment=environment)

    def version(self) -> str:
        """What the link serves, loaded and asked as a daemon would."""
        with package.load(self.models / "tiny") as model:
            assert model.predict("turn on the light").label == "HassTurnOn"
            return model.manifest.version


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_install_update_and_rollback_from_files(machine: Machine, zips: dict[str, Path]) -> None:
    first = machine.run("install", zips["1.0.0"])
    assert (first.code, first.err) == (0, "")
    assert "tiny 1.0.0 is installed and passed its golden sentences here" in first.out
    second = machine.run("install", zips["1.1.0"])
    assert "back to 1.0.0: edge-agent model rollback tiny" in second.out
    assert machine.version() == "1.1.0"
    again = machine.run("install", zips["1.1.0"])
    assert (again.code, again.out) == (0, "nothing to do: tiny 1.1.0 is installed\n")
    listed = json.loads(machine.run("list", "--json").out)
    assert [item["version"] for item in listed if item["name"] == "tiny"] == ["1.1.0"]
    back = json.loads(machine.run("rollback", "tiny", "--json").out)
    assert (back["serving"], back["state"], back["changed"]) == ("1.0.0", "rolled_back", True)
    assert machine.version() == "1.0.0"
    none = machine.run("rollback", "tiny")
    assert (none.code, none.out) == (1, "")
    assert_one_line_and_hint(none)


def test_a_folder_is_installed_as_well(machine: Machine, tiny_folder: Path) -> None:
    told = json.loads(machine.run("install", tiny_folder, "--json").out)
    assert (told["serving"], told["digest"]) == ("1.0.0", read_bundle(tiny_folder).digest)
    assert machine.version() == "1.0.0"


def test_a_model_that_answers_wrongly_is_refused_and_changes_nothing(
    machine: Machine, zips: dict[str, Path]
) -> None:
    machine.run("install", zips["1.0.0"])
    done = machine.run("install", zips["6.6.6"])
    assert (done.code, done.out) == (3, "")
    assert_one_line_and_hint(done)
    assert "golden sentence 3" in done.err
    assert machine.version() == "1.0.0"


def _hostile(folder: Path, kind: str, good: Path) -> Path:
    path = folder / f"{kind}.edgemodel"
    with zipfile.ZipFile(good) as source:
        members = {name: source.read(name) for name in source.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
        for name, content in members.items():
            is_bomb = kind == "bomb" and name == "model.tflite"
            target.writestr(name, b"\0" * 20_000_000 if is_bomb else content)
        if kind == "traversal":
            target.writestr("../../escaped", b"x")
        if kind == "link":
            link = zipfile.ZipInfo("link")
            link.external_attr = 0o120777 << 16
            target.writestr(link, "/etc/passwd")
        if kind == "extraneous":
            target.writestr("extra.sh", b"x")
    if kind == "truncated":
        path.write_bytes(path.read_bytes()[:-4000])
    return path


def test_hostile_zips_are_refused_and_change_nothing(
    machine: Machine, zips: dict[str, Path], tmp_path: Path
) -> None:
    machine.run("install", zips["1.0.0"])
    for kind in ("bomb", "traversal", "link", "extraneous", "truncated"):
        done = machine.run("install", _hostile(tmp_path, kind, zips["1.1.0"]))
        assert (kind, done.code, done.out) == (kind, 3, "")
        assert done.err.startswith("edge-agent: bad_bundle: ")
        assert_one_line_and_hint(done)
    assert machine.version() == "1.0.0"
    store = machine.models / ".store"
    assert len(list(store.glob("sha256-*"))) == 1
    assert list((store / "incoming").iterdir()) == []
    assert not (tmp_path / "escaped").exists()
    assert not (tmp_path / "models" / "escaped").exists()


def test_a_name_without_a_repository_is_a_wrong_usage(machine: Machine) -> None:
    done = machine.run("install", "tiny")
    assert done.code == 2
    assert_one_line_and_hint(done)
    assert not machine.models.exists()


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path, zips: dict[str, Path]) -> None:
    (tmp_path / "models").write_text("a file")
    done = Machine(tmp_path).run("install", zips["1.0.0"])
    assert (done.code, done.out) == (1, "")
    assert_one_line_and_hint(done)


@contextmanager
def _served(folder: Path) -> Iterator[str]:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def repository(tmp_path: Path, zips: dict[str, Path]) -> TufRepository:
    made = TufRepository(tmp_path / "repository", now=datetime.now(timezone.utc))
    for version, path in zips.items():
        made.add("tiny", version, path.read_bytes(), read_bundle(path.parent / version).digest)
    made.add_channel("default", {"tiny": "1.0.0"})
    made.add_channel("canary", {"tiny": "1.1.0"})
    made.publish()
    (tmp_path / "root.json").write_bytes(made.pinned)
    return made


@pytest.mark.parametrize("over", ["http", "folder"])
def test_install_from_a_signed_repository(
    over: str, machine: Machine, repository: TufRepository, tmp_path: Path
) -> None:
    with _served(repository.folder) as url:
        source = ["--repository", url if over == "http" else str(repository.folder)]
        source += ["--root", str(tmp_path / "root.json")]
        first = machine.run("install", "tiny", *source)
        assert (first.code, first.err) == (0, "")
        assert machine.version() == "1.0.0"
        assert "nothing to do" in machine.run("install", "tiny", *source).out
        assert machine.run("install", "tiny", "--channel", "canary", *source).code == 0
        assert machine.version() == "1.1.0"
        before = tree(machine.models)
        other = machine.run("install", "tiny@1.0.0", "--channel", "canary", *source)
        assert (other.code, "not_for_this_channel" in other.err) == (3, True)
        bad = machine.run("install", "tiny@6.6.6", *source)
        assert (bad.code, "failed_its_proof" in bad.err or "bad_bundle" in bad.err) == (3, True)
        assert machine.version() == "1.1.0"
        unknown = machine.run("install", "tiny@9.9.9", *source)
        assert (unknown.code, "unknown_target" in unknown.err) == (3, True)
        assert_one_line_and_hint(unknown)
        links = {name: kind for name, kind in tree(machine.models).items() if isinstance(kind, str)}
        assert links == {name: kind for name, kind in before.items() if isinstance(kind, str)}
    parts = machine.state / "under-test" / "update" / "parts"
    assert list(parts.iterdir()) == []


def test_install_what_an_operator_published(machine: Machine, tiny_folder: Path, tmp_path: Path) -> None:
    place = Workplace(tmp_path / "operator")
    place.create()
    place.publish(tiny_folder, groups=("kitchens",))
    done = machine.run(
        "install", "tiny", "--channel", "kitchens", "--repository", place.repository,
        "--root", place.keys / "root.json",
    )  # fmt: skip
    assert (done.code, done.err) == (0, "")
    assert machine.version() == "1.0.0"


def test_a_repository_that_is_not_signed_by_the_pinned_root_is_refused(
    machine: Machine, repository: TufRepository, tmp_path: Path
) -> None:
    other = TufRepository(tmp_path / "other", now=datetime.now(timezone.utc))
    (tmp_path / "root.json").write_bytes(other.pinned)
    done = machine.run("install", "tiny", "--repository", repository.folder, "--root", tmp_path / "root.json")
    assert (done.code, done.out, "wrong_signature" in done.err) == (3, "", True)
    assert_one_line_and_hint(done)
    assert not (machine.models / "tiny").exists()


def test_what_the_settings_ask_of_a_model_holds_for_a_file_as_well(
    machine: Machine, zips: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.run("install", zips["1.0.0"])
    monkeypatch.setenv("EDGE_AGENT_UPDATES__MAX_LATENCY_MS", "0.0001")
    done = machine.run("install", zips["1.1.0"])
    assert (done.code, done.out) == (3, "")
    assert "too_slow_here: the model takes" in done.err
    assert_one_line_and_hint(done)
    assert machine.version() == "1.0.0"


def test_where_metadata_expired_it_says_which_day_it_takes_it_to_be(machine: Machine, tmp_path: Path) -> None:
    old = TufRepository(tmp_path / "old", now=datetime(2020, 1, 1, tzinfo=timezone.utc))
    old.publish()
    (tmp_path / "root.json").write_bytes(old.pinned)
    done = machine.run("install", "tiny", "--repository", old.folder, "--root", tmp_path / "root.json")
    assert (done.code, done.out) == (3, "")
    assert done.err.startswith("edge-agent: expired: ")
    assert "here it is 20" in done.err
    assert str(machine.state / "under-test" / "update" / "clock.json") in done.err
    assert_one_line_and_hint(done)
