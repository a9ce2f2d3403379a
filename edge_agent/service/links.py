"""The device's links to its broker: the main one, and a clean one where routes let others take over.

A broker keeps what it handed to a persistent session until its owner returns; with a clean one that is lost,
and nothing waits (``on_death`` of a route). A session is one connection's, hence two; see decision 0011.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import partial

from edge_agent.errors import SettingsError
from edge_agent.link.address import BrokerAddress
from edge_agent.link.client import Link
from edge_agent.link.discovery import BIRTH_TOPIC
from edge_agent.link.policy import LinkPolicy
from edge_agent.link.protocol import (
    MQTT_5,
    ConnectOptions,
    Delivery,
    LinkStatus,
    Receiver,
    Retained,
    Subscription,
    Will,
)
from edge_agent.link.routes import Route, Router
from edge_agent.link.topics import Topics
from edge_agent.settings import Settings


class Links:
    """Speaks to the broker over one link or two; an answer goes the way that its request came.

    Args:
        settings: of which the broker, the limits and the device's id are read.
        password: of the broker, or None.
        router: what to subscribe to.
        receiver: who takes what arrives.
        before: filters of the persistent session that earlier lives subscribed to.
    """

    def __init__(
        self,
        settings: Settings,
        password: str | None,
        router: Router,
        receiver: Receiver,
        before: tuple[str, ...] = (),
    ) -> None:
        mqtt = settings.mqtt
        topics = Topics(mqtt.base_topic, settings.device.id)
        options = ConnectOptions(
            client_id=f"edge-agent-{settings.device.id}",
            keepalive_seconds=mqtt.keepalive_seconds,
            session_expiry_seconds=mqtt.session_expiry_seconds,
            receive_maximum=mqtt.receive_maximum,
            max_packet_bytes=mqtt.max_packet_bytes,
            connect_timeout_seconds=mqtt.connect_timeout_seconds,
            will=Will(topics.status, b"offline", mqtt.will_delay_seconds),
        )
        filters = router.filters
        link = partial(
            Link,
            BrokerAddress.from_settings(mqtt, password),
            receiver=receiver,
            hold=settings.inference.queue_size,
            reconnect_max_seconds=mqtt.reconnect_max_seconds,
            tree=topics.root,
            policy=_policy(settings),
        )
        self._main = link(
            options=options,
            subscriptions=(*filters.wait, *_commands(topics), *_births(settings)),
            canary=topics.canary,
            given_up=tuple(one for one in before if one not in filters.wait),
        )
        self._pool: Link | None = None
        if filters.take_over:
            clean = replace(
                options, client_id=f"{options.client_id}.pool", session_expiry_seconds=0, will=None
            )
            self._pool = link(options=clean, subscriptions=filters.take_over, name="pool")
        self._all = (self._main,) if self._pool is None else (self._main, self._pool)

    def start(self) -> None:
        """Begins to connect; an absent broker is waited for."""
        for link in self._all:
            link.start()

    def holds_back(self, delivery: Delivery) -> bool:
        """Whether the broker obeys Receive Maximum for such a request, so that no more come than may."""
        link = self._pool if self._pool is not None and delivery.link is self._pool else self._main
        return delivery.message.qos > 0 and link.protocol == MQTT_5

    @property
    def max_packet_bytes(self) -> int:
        """The largest packet that the broker takes; a usual bound while there is none."""
        return self._main.max_packet_bytes

    def status(self) -> LinkStatus:
        """How the main link is; what is wrong with the other one stands among the refusals."""
        status = self._main.status()
        if self._pool is None:
            return status
        pool = self._pool.status()
        refusals = pool.refusals if pool.fault is None else (f"the link of the pool: {pool.fault}",)
        return replace(status, refusals=(*status.refusals, *refusals))

    @property
    def dropped(self) -> Counter[str]:
        """What was not handed on, by reason."""
        # Copies: the network threads add reasons, and a copy is made in one step.
        return sum((link.dropped.copy() for link in self._all), Counter[str]())

    def announce(self, topic: str, payload: bytes) -> None:
        """Publishes retained state now and on every later connection, the newest only."""
        self._main.announce(topic, payload)

    def publish_once(self, topic: str, payload: bytes) -> bool:
        """Publishes at QoS 0, now or never."""
        return self._main.publish_once(topic, payload)

    def retract(self, topic: str) -> None:
        """Forgets retained state and publishes nothing."""
        self._main.retract(topic)

    def answer(
        self,
        delivery: Delivery,
        topic: str,
        payload: bytes,
        *,
        user: tuple[tuple[str, str], ...] = (),
        expiry_seconds: int | None = None,
    ) -> None:
        """Sends the answer to a request; the request is acknowledged once it is confirmed."""
        link = delivery.link or self._main
        link.answer(delivery, topic, payload, user=user, expiry_seconds=expiry_seconds)

    def settle(self, delivery: Delivery) -> None:
        """Acknowledges a request that gets no answer, in its turn."""
        (delivery.link or self._main).settle(delivery)

    def comes_again(self, delivery: Delivery) -> bool:
        """Whether the broker sends this request again anyway."""
        return (delivery.link or self._main).comes_again(delivery)

    @property
    def unconfirmed(self) -> int:
        """Answers that the broker has not confirmed."""
        return sum(link.unconfirmed for link in self._all)

    def stop_taking(self) -> None:
        """Leaves what arrives from now on with the broker."""
        for link in self._all:
            link.stop_taking()

    def drain(self, timeout_seconds: float) -> bool:
        """Waits until the broker has confirmed every answer; False when it did not within the time."""
        drained = [link.drain(timeout_seconds) for link in self._all]
        return all(drained)

    def leave(self, last_words: tuple[str, bytes], timeout_seconds: float) -> None:
        """Publishes a last retained message, disconnects cleanly, and ends the threads."""
        if self._pool is not None:
            self._pool.leave(None, timeout_seconds)
        self._main.leave(last_words, timeout_seconds)


def _births(settings: Settings) -> tuple[Subscription, ...]:
    """Where Home Assistant says that it has started; what it said before we came is no news."""
    if not settings.home_assistant.enabled:
        return ()
    return (Subscription(BIRTH_TOPIC, retained=Retained.NEVER),)


def _policy(settings: Settings) -> LinkPolicy:
    """The link proves itself as often as health is told, so that health is true within two intervals."""
    interval = max(1.0, settings.health.interval_seconds)
    usual = LinkPolicy()
    return replace(
        usual,
        max_topic_levels=settings.limits.topic_levels,
        canary_seconds=min(usual.canary_seconds, interval),
        canary_broken_seconds=min(usual.canary_broken_seconds, interval),
        canary_patience_seconds=min(usual.canary_patience_seconds, interval),
    )


def _commands(topics: Topics) -> tuple[Subscription, ...]:
    """Commands are retained on purpose, and their states are our own words."""
    return (
        Subscription(topics.commands, no_local=True, retained=Retained.ALWAYS),
        Subscription(topics.wishes, retained=Retained.NEVER),
    )


def router_of(settings: Settings) -> Router:
    """What the settings bind to which model.

    Raises:
        SettingsError: a route cannot be.
    """
    routes = [
        Route(
            subscribe=route.subscribe,
            model=route.model,
            publish=route.publish,
            text=route.text,
            share=route.share,
            on_death=route.on_death,
        )
        for route in settings.route
    ]
    try:
        return Router(
            Topics(settings.mqtt.base_topic, settings.device.id),
            routes,
            discovery_prefix=settings.home_assistant.discovery_prefix,
        )
    except ValueError as error:
        raise SettingsError(f"settings: {error}", hint="docs/protocol.md, section Routes") from error
