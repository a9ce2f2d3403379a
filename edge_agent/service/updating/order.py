"""What the daemon and the process that updates say to one another. Pure.

The daemon writes one :class:`Order` as JSON and closes; the child answers with one JSON object a line:

    {"latest": {"home": "1.1.0"}}              which versions are to be had
    {"percentage": 40}                         of the download
    {"record": {…}}                            the record that was just written
    {"done": {"name": "home", "is_new": true}} it ended; "name" is null where there was nothing to do
    {"refused": {"name": …, "reason": …, "message": …}}

Sentences of the shadow are in the order and nowhere else: it goes through a pipe and is never written.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from edge_agent.service.updating.shadow import ShadowSentence
from edge_agent.update.record import from_json, to_json
from edge_agent.update.refusal import Reason
from edge_agent.update.slots import Record, Version


@dataclass(frozen=True, slots=True)
class Limits:
    """What an update may take, and what a model must reach; of the section ``updates``.

    Attributes:
        deadline_seconds: of the whole, by the clock on the wall.
        memory_bytes: of the child that proves the model.
        max_latency_ms: median over the golden sentences.
        max_model_mb: memory that the model may take while it serves.
        min_agreement: share of the shadow's sentences.
        keep_versions: old versions that are kept besides.
        keep_bytes: of them together.
    """

    deadline_seconds: float
    memory_bytes: int
    max_latency_ms: float
    max_model_mb: int
    min_agreement: float
    keep_versions: int
    keep_bytes: int


@dataclass(frozen=True, slots=True)
class Order:
    """What the child is to do.

    Attributes:
        models: folder of the store.
        state: folder of trusted metadata.
        repository: its address or folder.
        root: file of its pinned root.
        channel: group of this device.
        names: of the model; none for a poll.
        version: what to install, or None for what the channel says.
        clock_synced: whether this machine's clock is synchronised.
        is_poll: nobody asked: only what is news of the channel is installed, and nothing that failed here.
        only_tells: nothing is installed; what is to be had is told.
        serving: what the device serves now, from whatever folder.
        limits: of all this.
        passed_over: models that a poll leaves out, since this look has failed with them already.
        parent: the daemon's process, with which the child goes; 0 is unknown.
        shadow: latest sentences and their answers, by model.
    """

    models: str
    state: str
    repository: str
    root: str
    channel: str
    names: tuple[str, ...]
    version: str | None
    clock_synced: bool
    is_poll: bool
    only_tells: bool
    serving: Mapping[str, Version]
    limits: Limits
    passed_over: tuple[str, ...] = ()
    parent: int = 0
    shadow: Mapping[str, tuple[ShadowSentence, ...]] = field(default_factory=dict, repr=False)

    def to_json(self) -> str:
        """One line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Order:
        """What :meth:`to_json` wrote; only the daemon writes here, so it is not checked."""
        value: dict[str, Any] = json.loads(text)
        shadow = {
            name: tuple(
                ShadowSentence(**{**one, "slots": tuple((slot[0], slot[1]) for slot in one["slots"])})
                for one in sentences
            )
            for name, sentences in value["shadow"].items()
        }
        serving = {name: Version(**version) for name, version in value["serving"].items()}
        names, limits = tuple(value["names"]), Limits(**value["limits"])
        passed = tuple(value["passed_over"])
        read = {"names": names, "serving": serving, "limits": limits, "passed_over": passed, "shadow": shadow}
        return cls(**{**value, **read})


@dataclass(frozen=True, slots=True)
class Progress:
    """A line of the child.

    Attributes:
        latest: versions that are to be had, by model.
        percentage: of the download.
        record: what was just written.
        done: name of the model that was installed; the empty text where there was nothing to do.
        is_new: it changed something.
        refused: the named reason, with ``message``; ``name`` says of which model.
        name: see ``refused``.
        message: see ``refused``.
    """

    latest: Mapping[str, str] | None = None
    percentage: int | None = None
    record: Record | None = None
    done: str | None = None
    is_new: bool = False
    refused: Reason | None = None
    name: str | None = None
    message: str = ""


def render(progress: Progress) -> str:
    """A line without its end."""
    value: dict[str, Any] = {}
    if progress.latest is not None:
        value["latest"] = dict(progress.latest)
    if progress.percentage is not None:
        value["percentage"] = progress.percentage
    if progress.record is not None:
        value["record"] = to_json(progress.record)
    if progress.done is not None:
        value["done"] = {"name": progress.done or None, "is_new": progress.is_new}
    if progress.refused is not None:
        value["refused"] = {
            "name": progress.name,
            "reason": progress.refused.value,
            "message": progress.message,
        }
    return json.dumps(value)


def parse(line: str) -> Progress:
    """Reads a line.

    Raises:
        ValueError: it is none: the child is broken.
    """
    try:
        value = json.loads(line)
        done, refused = value.get("done"), value.get("refused")
        return Progress(
            latest=value.get("latest"),
            percentage=value.get("percentage"),
            record=from_json(value["record"]) if "record" in value else None,
            done=None if done is None else done["name"] or "",
            is_new=bool(done and done["is_new"]),
            refused=None if refused is None else Reason(refused["reason"]),
            name=None if refused is None else refused["name"],
            message="" if refused is None else refused["message"],
        )
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError("no line of progress") from error
