"""The child that proves a model: what it measures, what it is given, and that it goes when it must."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

import edge_agent as package
from edge_agent.service.updating.proof import Proof, ProofLimits, prove
from edge_agent.service.updating.shadow import ShadowSentence
from edge_agent.service.updating.verdict import read_proof, reason_of_end
from edge_agent.settings.update_sections import UpdatesSettings
from edge_agent.update.refusal import CONDEMNING, Reason, UpdateError
from tests.testbeds.waiting import eventually
from tests.tiny_bundle import build_tiny_bundle
from tests.tiny_embed_bundle import build_tiny_embed_bundle
from tests.updating.bad_models import build_classifier, loops, takes
from tests.updating.proof_children import children, wait_for_child

SHIPPED = Path(__file__).resolve().parents[2] / "models"
SECRET = "nobody may read this sentence"
NO_CORE = re.compile(rb"Max core file size +[01] +[01] ")
GOOD = Proof("ai-edge-litert 2.3.0", latency_ms=2.0, model_bytes=50_000_000, asked=10, agreed=9)
LIMITS = ProofLimits()


@pytest.fixture(scope="module")
def endless(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_classifier(tmp_path_factory.mktemp("endless") / "bundle", extra=loops())


def test_a_proof_tells_what_the_model_takes_here(tmp_path: Path) -> None:
    proof = prove(build_tiny_bundle(tmp_path / "tiny"), LIMITS)
    assert "lite" in proof.runtime
    assert 0 < proof.latency_ms < 1000
    assert 100_000 < proof.model_bytes < 100_000_000
    assert (proof.asked, proof.agreed) == (0, 0)


def test_a_model_that_embeds_is_proved_as_well(tmp_path: Path) -> None:
    assert prove(build_tiny_embed_bundle(tmp_path / "embed"), LIMITS).latency_ms > 0


@pytest.mark.parametrize("name", ["home", "assistant", "sentiment"])
def test_the_models_that_ship_pass_with_the_settings_as_they_are(name: str) -> None:
    if not (SHIPPED / name / "model.tflite").is_file():
        pytest.skip(f"{name} is not in this checkout")
    proof = prove(SHIPPED / name, ProofLimits.from_settings(UpdatesSettings()))
    assert proof.model_bytes > (SHIPPED / name / "model.tflite").stat().st_size


def test_slots_count_when_sentences_are_compared(tmp_path: Path) -> None:
    folder = build_tiny_bundle(tmp_path / "tiny")
    text = "turn off the fan in the living room"
    with package.load(folder) as model:
        answer = model.predict(text)
    slots = tuple((slot.name, slot.value) for slot in answer.slots)
    right = ShadowSentence(text, answer.recognized, answer.label, slots)
    limits = replace(LIMITS, min_agreement=0.0)
    others = [
        replace(right, slots=()),
        replace(right, slots=(*slots[:-1], (slots[-1][0], "lamp"))),
        replace(right, recognized=False, label=None, slots=()),
        replace(right, text="   "),
    ]
    proof = prove(folder, limits, shadow=[right, *others])
    assert (proof.asked, proof.agreed) == (5, 1)


_HIDDEN = (  # group 0 would see all; else as systemd's ProtectProc=invisible and CapabilityBoundingSet= do it
    "mount -t proc -o hidepid=invisible proc /proc || exit 77\n"
    'exec setpriv --regid=65534 --clear-groups --bounding-set=-all --inh-caps=-all --no-new-privs "$@"\n'
)


def test_memory_is_watched_where_processes_are_hidden_from_others(tmp_path: Path) -> None:
    program = (
        "import sys\nfrom pathlib import Path\n"
        "from edge_agent.service.updating.proof import ProofLimits, prove\n"
        "try: prove(Path(sys.argv[1]), ProofLimits(memory_bytes=200_000_000))\n"
        "except Exception as error: print(error)\n"
    )
    folder = build_classifier(tmp_path / "huge", extra=takes(1000))
    for tool in ("unshare", "setpriv"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} of util-linux is not installed")
    command = ["unshare", "--mount", "sh", "-c", _HIDDEN, "sh", sys.executable, "-c", program, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if "unshare failed" in done.stderr or done.returncode == 77:
        pytest.skip("it takes root who may mount")
    assert "took more than 200 MB" in done.stdout, done.stderr


def test_sentences_and_secrets_are_neither_in_the_arguments_nor_in_the_environment(
    endless: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGE_AGENT_MQTT__PASSWORD", "hush-hush")
    stopping = threading.Event()
    seen: dict[str, bytes] = {}

    def look() -> None:
        pid = wait_for_child()

        def read(name: str) -> bytes:
            try:
                return Path(f"/proc/{pid}/{name}").read_bytes()
            except PermissionError:  # in a container, of a process that may not be dumped
                return b""

        try:
            eventually(lambda: read("limits") == b"" or NO_CORE.search(read("limits")), 30.0, "no cores")
            seen.update({name: read(name) for name in ("cmdline", "environ", "stat")})
        finally:
            stopping.set()

    looking = threading.Thread(target=look)
    looking.start()
    with pytest.raises(UpdateError, match="was stopped") as stopped:
        prove(endless, LIMITS, shadow=[ShadowSentence(SECRET, True, "HassTurnOn")], stopping=stopping)
    looking.join()
    assert b"proof_child" in seen["cmdline"]
    assert SECRET.encode() not in b"".join(seen.values())
    assert b"hush" not in seen["environ"]
    assert SECRET not in str(stopped.value)
    assert SECRET not in repr(ShadowSentence(SECRET, True, "HassTurnOn"))


def test_a_proof_goes_with_the_process_that_asked_for_it(endless: Path) -> None:
    program = (
        "import sys\nfrom pathlib import Path\n"
        "from edge_agent.service.updating.proof import ProofLimits, prove\n"
        "prove(Path(sys.argv[1]), ProofLimits())\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program, str(endless)])
    try:
        child = wait_for_child(parent.pid)
    finally:
        parent.kill()
        parent.wait()
    deadline = time.monotonic() + 30
    while _runs(child) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not _runs(child)


def _runs(pid: int) -> bool:
    """Whether a process is there and no zombie, which belongs to whoever adopts it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.mark.parametrize(
    ("program", "reason", "words"),
    [
        ("print('nonsense')", Reason.PROOF, "without a word"),
        ("print('[]')", Reason.PROOF, "without a word"),
        ("print('[' * 50_000)", Reason.PROOF, "without a word"),
        ("", Reason.PROOF, "without a word"),
        ("raise SystemExit(3)", Reason.PROOF, "exit code 3"),
        ("while True: print('x' * 10_000)", Reason.PROOF, "what it should not"),
        ("import os; os.kill(os.getpid(), 11)", Reason.PROOF, "SIGSEGV"),
        ("import time; time.sleep(1000)", Reason.DEADLINE, "within 1 s"),
        ("import os, time; os.close(0); os.close(1); time.sleep(1000)", Reason.DEADLINE, "within 1 s"),
    ],
)
def test_whatever_a_child_does_is_told_in_one_line(program: str, reason: Reason, words: str) -> None:
    sentences = [ShadowSentence("x" * 1000, True, "HassTurnOn")] * 1000  # more than a pipe holds
    limits = replace(LIMITS, wall_seconds=1.0, max_latency_ms=1e-6)
    if reason is Reason.PROOF:
        limits = replace(limits, wall_seconds=60.0)
    with pytest.raises(UpdateError, match=words) as told:
        prove(Path("/nowhere"), limits, shadow=sentences, command=(sys.executable, "-c", program))
    assert told.value.reason is reason
    assert children() == []


def test_a_proof_that_cannot_be_started_is_this_machines_doing() -> None:
    with pytest.raises(UpdateError) as told:
        prove(Path("/nowhere"), LIMITS, command=("/nowhere/python",))
    assert told.value.exit_code == 1


def test_a_bundle_that_is_missing_is_refused() -> None:
    with pytest.raises(UpdateError, match=r"bundle\.json: missing") as told:
        prove(Path("/nowhere"), LIMITS)
    assert told.value.reason is Reason.PROOF


@pytest.mark.parametrize(
    ("proof", "reason"),
    [
        (GOOD, None),
        (replace(GOOD, asked=0, agreed=0), None),
        (replace(GOOD, latency_ms=1001.0), Reason.TOO_SLOW_HERE),
        (replace(GOOD, latency_ms=float("nan")), Reason.TOO_SLOW_HERE),
        (replace(GOOD, model_bytes=512_000_001), Reason.TOO_BIG_HERE),
        (replace(GOOD, agreed=8), Reason.DISAGREES),
    ],
)
def test_a_proof_is_judged_by_the_limits(proof: Proof, reason: Reason | None) -> None:
    fault = proof.fault(LIMITS)
    assert (fault.reason if fault else None) is reason


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (1, Reason.PROOF),
        (-signal.SIGSEGV, Reason.PROOF),
        (-signal.SIGABRT, Reason.PROOF),
        (-signal.SIGBUS, Reason.PROOF),
        (-signal.SIGXCPU, Reason.TOO_SLOW_HERE),
        (-signal.SIGKILL, Reason.NO_MEMORY),
        (-signal.SIGTERM, Reason.INTERRUPTED),
        (-63, Reason.PROOF),
    ],
)
def test_how_a_child_ended_says_whose_fault_it_was(code: int, reason: Reason) -> None:
    error = reason_of_end(code, LIMITS)
    assert error.reason is reason
    assert (error.exit_code == 3) is (reason in CONDEMNING)


def test_what_a_child_says_is_cut_to_one_printable_line() -> None:
    said = {"reason": "failed_its_proof", "refused": "first\nsecond\x1b[31m" + "x" * 9999}
    with pytest.raises(UpdateError, match=r"first second\[31mxx") as told:
        read_proof(json.dumps(said).encode())
    assert len(str(told.value)) < 500


def test_the_proof_is_cheap_to_import() -> None:
    program = (
        "import sys, edge_agent.service.updating.proof, edge_agent.service.updating.bundles\n"
        "print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    loaded = set(done.stdout.split())
    assert not loaded & {"numpy", "ai_edge_litert", "tuf", "pydantic", "edge_agent.inference.model"}


def test_limits_come_from_the_settings() -> None:
    limits = ProofLimits.from_settings(
        UpdatesSettings(max_memory_mb=256, max_model_mb=64, shadow_agreement=0.5)
    )
    assert (limits.memory_bytes, limits.max_model_mb, limits.min_agreement) == (256_000_000, 64, 0.5)
    assert ProofLimits.of(limits) == limits
