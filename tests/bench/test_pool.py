"""A pool of two real daemons behind a real broker, measured against one."""

from __future__ import annotations

from pathlib import Path

from edge_agent.cli.bench_link import LinkPlan, LinkStage, measure_pool
from tests.testbeds.broker import Mosquitto
from tests.tiny_bundle import SENTENCES

TEXTS = [text.replace("[", "").replace("](area)", "").replace("](name)", "") for _, text, _ in SENTENCES]


def test_a_stream_that_two_devices_split_is_answered_without_loss(tmp_path: Path, tiny_folder: Path) -> None:
    where = LinkStage(None, None, tiny_folder, "tiny", TEXTS, lambda _: None)
    with Mosquitto(tmp_path / "broker") as broker:
        compared, lost = measure_pool(LinkPlan(2, 0, 300), where, tmp_path, broker.port)
    assert (compared.name, compared.turns) == ("pool of two to one", 2)
    assert compared.ratio > 0
    assert lost == 0
