"""Routes, pools and limits through the real daemon and a real broker."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.testbeds.broker import Mosquitto
from tests.testbeds.daemon import Daemon
from tests.testbeds.probe import Probe
from tests.testbeds.waiting import eventually

REVIEWS = {
    "subscribe": "shop/+/reviews",
    "text": "$.body",
    "model": "tiny",
    "publish": "shop/{1}/verdict",
}


def routed(*routes: dict[str, Any]) -> dict[str, str]:
    return {"EDGE_AGENT_ROUTE": json.dumps(routes)}


def post(probe: Probe, count: int, prefix: str = "") -> set[str]:
    """Publishes reviews in the order of their ids, and returns these."""
    ids = [f"{prefix}{number}" for number in range(count)]
    for identity in ids:
        probe.publish("shop/1/reviews", {"id": identity, "body": "turn on the light"})
    return set(ids)


@contextmanager
def pool(
    folder: Path, broker: Mosquitto, models: Path, on_death: str
) -> Iterator[tuple[Daemon, Daemon, Probe]]:
    """Two devices that split the reviews, and who hears their verdicts."""
    environment = routed({**REVIEWS, "share": "pool", "on_death": on_death})
    with (
        Daemon(folder / "a", broker.port, (models,), device="a", environment=environment) as first,
        Daemon(folder / "b", broker.port, (models,), device="b", environment=environment) as second,
        Probe(broker.port, "shop/+/verdict") as probe,
    ):
        yield first, second, probe


def test_a_foreign_payload_is_read_and_answered_where_the_route_says(
    tmp_path: Path, broker: Mosquitto, models: Path
) -> None:
    with (
        Daemon(tmp_path / "d", broker.port, (models,), environment=routed(REVIEWS)),
        Probe(broker.port, "shop/+/verdict") as probe,
    ):
        probe.publish("shop/7/reviews", {"id": 12, "stars": 5, "body": "turn on the light"})
        answer = probe.wait_for("shop/7/verdict")[0].json
        assert (answer["model"], answer["recognized"], answer["id"]) == ("tiny", True, None)
        probe.publish("shop/8/reviews", {"id": "r-1", "stars": 1})
        refused = probe.wait_for("shop/8/verdict")[0].json
        assert (refused["id"], refused["error"]["code"]) == ("r-1", "bad_payload")


def test_a_route_that_feeds_itself_ends_the_start_with_its_name(
    tmp_path: Path, broker: Mosquitto, models: Path
) -> None:
    loop = {**REVIEWS, "publish": "shop/{1}/reviews"}
    daemon = Daemon(tmp_path / "d", broker.port, (models,), environment=routed(loop))
    daemon.start(wait_ready=False)
    assert daemon.wait() == 2
    assert "shop/+/reviews" in daemon.log_text()


@pytest.mark.parametrize("on_death", ["wait", "take_over"])
def test_a_pool_splits_a_stream_and_each_message_is_answered_once(
    tmp_path: Path, broker: Mosquitto, models: Path, on_death: str
) -> None:
    with pool(tmp_path, broker, models, on_death) as (first, second, probe):
        ids = post(probe, 40)
        arrived = probe.wait_for_ids("shop/1/verdict", ids)
        assert sorted(arrived, key=int) == sorted(ids, key=int)

        def shares() -> list[int]:
            return [len(daemon.events("request.answered")) for daemon in (first, second)]

        eventually(lambda: sum(shares()) == 40, what="a line in the log for each request")
        assert min(shares()) > 0


def test_when_a_member_is_killed_the_others_take_over_what_comes(
    tmp_path: Path, broker: Mosquitto, models: Path
) -> None:
    with pool(tmp_path, broker, models, "take_over") as (first, _, probe):
        first.stop(signal.SIGKILL)
        probe.wait_for_ids("shop/1/verdict", post(probe, 20))


def test_with_take_over_a_dead_member_takes_along_no_more_than_its_share_until_the_broker_noticed(
    tmp_path: Path, broker: Mosquitto, models: Path
) -> None:
    with pool(tmp_path, broker, models, "take_over") as (first, _, probe):
        first.send(signal.SIGSTOP)  # alive for the broker, which lines up for it what is its turn
        ids = post(probe, 40)
        first.stop(signal.SIGKILL)
        after = post(probe, 20, "after ")
        answered = set(probe.wait_for_ids("shop/1/verdict", after))
        first.start()
        probe.publish("shop/1/reviews", {"id": "last", "body": "turn on the light"})
        answered |= set(probe.wait_for_ids("shop/1/verdict", {"last"}))
        assert len(ids - answered) <= len(ids) / 2


def test_what_was_handed_to_a_dead_member_waits_for_its_return(
    tmp_path: Path, broker: Mosquitto, models: Path
) -> None:
    environment = routed({**REVIEWS, "share": "pool", "on_death": "wait"})
    with (
        Daemon(tmp_path / "a", broker.port, (models,), device="a", environment=environment) as first,
        Probe(broker.port, "shop/+/verdict") as probe,
    ):
        first.send(signal.SIGSTOP)  # it takes what the broker hands over, and answers nothing
        ids = post(probe, 10)
        first.stop(signal.SIGKILL)
        with Daemon(tmp_path / "b", broker.port, (models,), device="b", environment=environment):
            probe.publish("shop/1/reviews", {"id": "new", "body": "turn on the light"})
            first.start()
            probe.wait_for_ids("shop/1/verdict", {*ids, "new"})


def test_a_topic_that_brings_too_much_is_refused_and_others_are_not(
    tmp_path: Path, broker: Mosquitto, models: Path
) -> None:
    settings = {"limits": {"requests_per_second": 0.001, "burst": 3}}
    with (
        Daemon(
            tmp_path / "d", broker.port, (models,), settings=settings, environment=routed(REVIEWS)
        ) as daemon,
        Probe(broker.port, "shop/+/verdict", f"{daemon.root}/out/#") as probe,
    ):
        post(probe, 5)
        answers = [message.json for message in probe.wait_for("shop/1/verdict", count=5)]
        codes = {answer["id"]: answer.get("error", {}).get("code") for answer in answers}
        assert codes == {"0": None, "1": None, "2": None, "3": "overloaded", "4": "overloaded"}
        probe.publish("shop/2/reviews", {"body": "turn on the light"})
        assert probe.wait_for("shop/2/verdict")[0].json["recognized"] is True


def test_a_route_that_was_taken_out_of_the_settings_takes_nothing_from_its_pool(
    tmp_path: Path, broker: Mosquitto, models: Path
) -> None:
    pooled = routed({**REVIEWS, "share": "pool"})
    with Daemon(tmp_path / "a", broker.port, (models,), device="a", environment=pooled) as daemon:
        daemon.stop()
    with (
        Daemon(tmp_path / "a", broker.port, (models,), device="a") as without,
        Daemon(tmp_path / "b", broker.port, (models,), device="b", environment=pooled),
        Probe(broker.port, "shop/#") as probe,
    ):
        without.stop()
        without.start()
        ids = post(probe, 10)
        probe.wait_for_ids("shop/1/verdict", ids)


def test_a_filter_that_nobody_remembers_is_no_riddle(tmp_path: Path, broker: Mosquitto, models: Path) -> None:
    daemon = Daemon(tmp_path / "d", broker.port, (models,), environment=routed(REVIEWS))
    with daemon:
        daemon.stop()
    after = Daemon(tmp_path / "d2", broker.port, (models,))  # the same device, with another state folder
    with Probe(broker.port, f"{daemon.root}/#", "shop/#") as probe:
        probe.publish("shop/1/reviews", {"body": "turn on the light"})
        with after:
            probe.publish(f"{after.root}/in/tiny", "turn on the light")
            probe.wait_for(f"{after.root}/out/tiny")
            health = probe.wait_until(
                lambda m: m.topic == f"{after.root}/health" and b"no_route" in m.payload
            )
            assert health.json["dropped"]["no_route"] == 1
            assert probe.on("shop/1/verdict") == []
