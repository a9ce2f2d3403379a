"""The section about updates of models: their source, what they must prove, how long they are watched."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from edge_agent.settings.section import Section


class UpdatesSettings(Section):
    """Where models come from, and what a new one must prove on this machine before and after it serves."""

    repository: str = Field(
        default="",
        description="Address or folder of the signed repository; empty: no updates over MQTT and no polling.",
    )
    root: Path = Field(
        default=Path("/etc/edge-agent/root.json"),
        description="The repository's root.json, brought here by a way that is trusted.",
    )
    channel: str = Field(
        default="default",
        pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$",
        description="The group of this device: whose channel says which version it should have.",
    )
    poll_seconds: float = Field(
        default=0.0,
        ge=0,
        le=604_800,
        description="Seconds between two looks at the repository, a fifth more or less; 0: only on command.",
    )
    install_by_itself: bool = Field(
        default=True,
        description="A look at the repository installs what the channel says; false: it only tells it, and "
        "somebody installs it, such as with the button in Home Assistant.",
    )
    deadline_seconds: float = Field(
        default=3600.0,
        ge=10,
        le=86_400,
        description="Seconds that an update may take, waiting and watching not counted.",
    )
    max_memory_mb: int = Field(
        default=1024, ge=128, le=65_536, description="Most memory of the process that proves a new model, MB."
    )
    max_latency_ms: float = Field(
        default=1000.0,
        gt=0,
        le=600_000,
        description="A new model must answer a golden sentence on this machine within so many milliseconds "
        "(median).",
    )
    max_model_mb: int = Field(
        default=512,
        ge=8,
        le=65_536,
        description="Memory that a new model may take while it serves, MB, measured while it is proved.",
    )
    shadow_sentences: int = Field(
        default=0,
        ge=0,
        le=1000,
        description="A new model also answers so many of the latest sentences, kept in memory only, and must "
        "agree with the old one; 0: none are kept.",
    )
    shadow_agreement: float = Field(
        default=0.9,
        ge=0,
        le=1,
        description="Share of those sentences that it must answer as the old one did.",
    )
    watch_seconds: float = Field(
        default=60.0,
        ge=0,
        le=86_400,
        description="Seconds that a new model is watched while it serves; 0: it is kept at once.",
    )
    watch_max_errors: float = Field(
        default=0.05,
        ge=0,
        le=1,
        description="Share of requests that may fail by the model's fault while it is watched.",
    )
    watch_max_slowdown: float = Field(
        default=3.0,
        ge=1,
        le=1000,
        description="How many times the old one's median latency the new one's may be while it is watched.",
    )
    wait_when_strained: bool = Field(
        default=True,
        description="Updates wait while the battery is low, the supply too weak or the processor too hot.",
    )
    wait_above_per_minute: float = Field(
        default=0.0,
        ge=0,
        le=1e9,
        description="Updates wait while more requests a minute are answered; 0: however busy it is.",
    )
    keep_versions: int = Field(
        default=2,
        ge=0,
        le=100,
        description="Old versions kept besides what serves and what each model falls back to.",
    )
    keep_mb: int = Field(
        default=100, ge=0, le=1_000_000, description="Most room that these may take together, MB."
    )

    @field_validator("repository")
    @classmethod
    def _has_no_secret(cls, value: str) -> str:
        """`info` and diagnostics tell the settings; what is in the repository is signed and no secret."""
        try:
            has_secret = urlsplit(value).username is not None
        except ValueError as error:
            raise ValueError("updates.repository is no address") from error
        if has_secret:
            raise ValueError("updates.repository must not hold a user or password")
        return value
