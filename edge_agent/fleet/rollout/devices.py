"""What is known of the devices of a rollout, by what their topics said last.

Only its own devices are kept, so what a broker holds of others takes no memory.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from edge_agent.fleet.rollout.documents import CommandWord, ModelWord, read_command, read_model
from edge_agent.fleet.rollout.rollout_state import ROLLBACK, UPDATE
from edge_agent.link.commands import Status

ID_PREFIX: Final = "rollout-"
"""Of the command ids of all rollouts; what follows sorts by time."""
_MOST_OTHERS: Final = 16


@dataclass(frozen=True, slots=True)
class Fact:
    """A device as it is known now; None is unknown.

    Attributes:
        online: as ``status`` says.
        heard_at: when it last said something itself, seconds since the epoch.
        model: what it says of the model.
        model_at: when that changed.
        commands: what stands at the broker of our commands, by operation.
        refused: why the broker refused our command.
        others: ids of commands of earlier rollouts of this model that it has not begun.
    """

    online: bool | None = None
    heard_at: float | None = None
    model: ModelWord | None = None
    model_at: float | None = None
    commands: Mapping[str, CommandWord] = field(default_factory=dict)
    refused: str | None = None
    others: frozenset[str] = frozenset()


NOTHING: Final = Fact()


class Sightings:
    """Facts of the devices of one rollout.

    Args:
        base: the base topic.
        model: that it is about.
        devices: ids; others are ignored.

    Attributes:
        facts: by device.
        ids: operation → id of our command.
    """

    def __init__(self, base: str, model: str, devices: Collection[str], ids: Mapping[str, str]) -> None:
        self.facts: dict[str, Fact] = dict.fromkeys(devices, NOTHING)
        self.ids = dict(ids)
        self._base = base
        self._model = model

    @property
    def filters(self) -> tuple[str, ...]:
        """What to subscribe to."""
        root = f"{self._base}/+"
        return (
            f"{root}/status",
            f"{root}/model/{self._model}",
            f"{root}/cmd/{UPDATE}/+",
            f"{root}/cmd/{ROLLBACK}/+",
        )

    def topic(self, device: str, operation: str, command_id: str) -> str:
        """Where a command stands."""
        return f"{self._base}/{device}/cmd/{operation}/{command_id}"

    def hear(self, topic: str, payload: bytes, *, retained: bool, now: float) -> bool:
        """Takes a message; whether it says something new of one of the devices."""
        if not topic.startswith(f"{self._base}/"):
            return False
        device, *rest = topic[len(self._base) + 1 :].split("/")
        fact = self.facts.get(device)
        if fact is None:
            return False
        match rest:
            case ["status"]:
                known = payload in (b"online", b"offline")
                after = replace(fact, online=payload == b"online" if known else None)
            case ["model", name] if name == self._model:
                word = read_model(payload)
                after = fact if word == fact.model else replace(fact, model=word, model_at=now)
            case ["cmd", operation, command_id]:
                after = self._command(fact, operation, command_id, payload)
            case _:
                return False
        if after == fact:
            return False
        is_own_word = not retained and rest[0] != "cmd"
        self.facts[device] = replace(after, heard_at=now) if is_own_word else after
        return True

    def note_sent(self, device: str, operation: str, command_id: str, payload: bytes) -> None:
        """The broker has confirmed a command of ours, or that it is cleared."""
        fact = self.facts[device]
        if payload and operation in fact.commands:
            return  # the device was quicker than the confirmation
        self.facts[device] = self._command(fact, operation, command_id, payload)

    def note_refused(self, device: str, reason: str) -> None:
        """The broker does not take what we say to a device."""
        self.facts[device] = replace(self.facts[device], refused=reason)

    def forget_commands(self) -> None:
        """The connection is gone: the next one tells anew what stands at the broker."""
        for device, fact in self.facts.items():
            if fact.commands or fact.others or fact.refused:
                self.facts[device] = replace(fact, commands={}, others=frozenset(), refused=None)

    def _command(self, fact: Fact, operation: str, command_id: str, payload: bytes) -> Fact:
        word = read_command(payload)
        if command_id == self.ids.get(operation):
            others = {name: known for name, known in fact.commands.items() if name != operation}
            return replace(fact, commands=others if word is None else {**others, operation: word})
        is_earlier = ID_PREFIX <= command_id < self.ids.get(UPDATE, "")
        if operation != UPDATE or not is_earlier:
            return fact
        is_standing = word is not None and word.status is Status.INIT and word.model == self._model
        if not is_standing:
            return replace(fact, others=fact.others - {command_id}) if command_id in fact.others else fact
        return replace(fact, others=fact.others | {command_id}) if len(fact.others) < _MOST_OTHERS else fact
