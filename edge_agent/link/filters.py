"""Topic filters: which are valid, what they match, and whether two of them can match the same topic. Pure.

Source: OASIS MQTT 5.0, sections 4.7 (topic names and filters), 1.5.4 (UTF-8 strings) and 4.8.2 (shared
subscriptions). 3.1.1 says the same in its section 4.7, without shares.
"""

from __future__ import annotations

from itertools import zip_longest

LONGEST_TOPIC_BYTES = 65_535
MOST_LEVELS = 100
"""Mosquitto hangs up on a topic with more than 200 slashes, EMQX on one with more than 128 levels."""

_NOT_OF_THE_TOPIC = frozenset(("$share", "$queue", "$oshare", "$exclusive"))
"""First levels by which brokers mark a kind of subscription; the message's topic comes without them."""


def topic_fault(topic: str) -> str | None:
    """Why a string is no topic that one can publish to, in words, or None."""
    if "+" in topic or "#" in topic:
        return "has a wildcard"
    return _string_fault(topic)


def filter_fault(topic_filter: str) -> str | None:
    """Why a string is no topic filter, in words, or None; a share is put before it by :func:`shared`."""
    fault = _string_fault(topic_filter)
    if fault is not None:
        return fault
    levels = topic_filter.split("/")
    if levels[0] in _NOT_OF_THE_TOPIC:
        return f"begins with {levels[0]}, which is no part of a topic"
    for level in levels:
        if len(level) > 1 and ("+" in level or "#" in level):
            return "has a wildcard that does not stand alone between two slashes"
    if "#" in levels[:-1]:
        return "has a # that is not its last level"
    return None


def share_fault(name: str) -> str | None:
    """Why a string is no name of a share, in words, or None."""
    if any(character in name for character in "/+#"):
        return "has a slash or a wildcard"
    return _string_fault(name)


def shared(name: str, topic_filter: str) -> str:
    """The filter with which the members of a share subscribe, so that each message goes to one of them."""
    return f"$share/{name}/{topic_filter}"


def captures(topic_filter: str, topic: str) -> tuple[tuple[str, ...], ...] | None:
    """What the wildcards of a filter stand for in a topic, each as its levels; None where it does not match.

    A ``+`` stands for one level, which may be empty, and ``#`` for any number of them: none, too, since
    ``sport/#`` matches ``sport``. A wildcard at the beginning matches no topic that begins with ``$``.
    """
    levels, wanted = topic.split("/"), topic_filter.split("/")
    if topic.startswith("$") and wanted[0] in ("+", "#"):
        return None
    found: list[tuple[str, ...]] = []
    for position, level in enumerate(wanted):
        if level == "#":
            return (*found, tuple(levels[position:]))
        if position == len(levels):
            return None
        if level == "+":
            found.append((levels[position],))
        elif level != levels[position]:
            return None
    return tuple(found) if len(levels) == len(wanted) else None


def matches(topic_filter: str, topic: str) -> bool:
    """Whether a filter matches a topic."""
    return captures(topic_filter, topic) is not None


def overlap(one: str, other: str) -> bool:
    """Whether there is a topic that both filters match, the empty one counted, which is none."""
    mine, theirs = one.split("/"), other.split("/")
    if _hides(mine[0], theirs[0]) or _hides(theirs[0], mine[0]):
        return False
    for a, b in zip_longest(mine, theirs):
        if "#" in (a, b):
            return True
        if a is None or b is None or (a != b and "+" not in (a, b)):
            return False
    return True


def covers(wide: str, narrow: str) -> bool:
    """Whether every topic that the one filter matches is matched by the other."""
    wide_levels, narrow_levels = wide.split("/"), narrow.split("/")
    if wide == "+/#":  # every topic has a first level
        wide_levels = ["#"]
    if _hides(wide_levels[0], narrow_levels[0]):
        return False
    for position, level in enumerate(wide_levels):
        if level == "#":
            return True
        if position == len(narrow_levels) or narrow_levels[position] == "#":
            return False
        if level not in ("+", narrow_levels[position]):
            return False
    return len(wide_levels) == len(narrow_levels)


def _hides(wildcard: str, level: str) -> bool:
    return wildcard in ("+", "#") and level.startswith("$")


def _string_fault(value: str) -> str | None:
    if not value:
        return "is empty"
    if "\x00" in value or any("\ud800" <= character <= "\udfff" for character in value):
        return "has a character that MQTT forbids"
    if len(value.encode("utf-8")) > LONGEST_TOPIC_BYTES:
        return f"is longer than {LONGEST_TOPIC_BYTES} bytes"
    if value.count("/") >= MOST_LEVELS:
        return f"has more than {MOST_LEVELS} levels"
    return None
