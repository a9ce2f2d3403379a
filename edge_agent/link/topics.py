"""The topics of one device (PROTOCOL §1), and which response topics a request may name. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

DISCOVERY_PREFIX = "homeassistant"
_LONGEST_TOPIC_BYTES = 65_535


@dataclass(frozen=True, slots=True)
class Topics:
    """The topics ``<base>/<device>/…`` of one device."""

    base: str
    device: str

    @property
    def root(self) -> str:
        """The part that all topics of the device share."""
        return f"{self.base}/{self.device}"

    @property
    def requests(self) -> str:
        """The filter that matches requests for every model, also for those that do not exist."""
        return f"{self.root}/in/+"

    @property
    def status(self) -> str:
        """``online`` or ``offline``, retained."""
        return f"{self.root}/status"

    @property
    def health(self) -> str:
        """The health document, retained."""
        return f"{self.root}/health"

    @property
    def info(self) -> str:
        """The info document, retained."""
        return f"{self.root}/info"

    @property
    def canary(self) -> str:
        """The device's own loop-back; nothing else listens to it."""
        return f"{self.root}/canary"

    @property
    def commands(self) -> str:
        """The filter that matches every command and its states."""
        return f"{self.root}/cmd/+/+"

    @property
    def wishes(self) -> str:
        """The filter that matches commands in their simple form."""
        return f"{self.root}/request/+"

    def request(self, model: str) -> str:
        """Where requests for a model go."""
        return f"{self.root}/in/{model}"

    def result(self, model: str) -> str:
        """Where answers of a model go when the request names no response topic."""
        return f"{self.root}/out/{model}"

    def model(self, name: str) -> str:
        """How a model is, retained."""
        return f"{self.root}/model/{name}"

    @property
    def power(self) -> str:
        """The power document."""
        return f"{self.root}/power"

    def model_of(self, topic: str) -> str:
        """The model that a topic matched by :attr:`requests` names."""
        return topic[len(self.root) + 4 :]


@lru_cache(maxsize=256)
def response_topic_fault(topic: str, base: str, discovery_prefix: str = DISCOVERY_PREFIX) -> str | None:
    """Why a response topic is refused, in words, or None when it may be used.

    An answer is written with the rights of the device, so a request must not be able to aim it at
    state that others trust: not below the base topic save at an ``out/``, not at the discovery prefix,
    not at the broker's own ``$`` topics, and never at a wildcard.
    """
    if not topic:
        return "the response topic is empty"
    if len(topic.encode("utf-8", "surrogatepass")) > _LONGEST_TOPIC_BYTES or "\x00" in topic:
        return "the response topic is not a valid topic"
    if "+" in topic or "#" in topic:
        return "the response topic has a wildcard"
    if topic.startswith("$"):
        return "the response topic begins with $"
    if _is_below(topic, discovery_prefix):
        return "the response topic is under the discovery prefix"
    if _is_below(topic, base):
        levels = topic[len(base) + 1 :].split("/")
        if len(levels) < 3 or levels[1] != "out" or not levels[0]:
            return "the response topic is under the base topic and not an out/"
    return None


def _is_below(topic: str, prefix: str) -> bool:
    return topic == prefix or topic.startswith(prefix + "/")
