"""The sections about the board and where people look: telemetry, power, Home Assistant, metrics."""

from __future__ import annotations

from pydantic import Field, model_validator

from edge_agent.settings.section import PlainTopic, Section


class TelemetrySettings(Section):
    """How often the board's sensors are looked at."""

    enabled: bool = Field(default=True, description="Read sensors and publish `power`.")
    interval_seconds: float = Field(
        default=10.0,
        ge=1,
        le=3600,
        description="Seconds between two looks at the sensors and two `power` messages.",
    )
    busy_interval_seconds: float = Field(
        default=0.5,
        ge=0.1,
        le=60,
        description="Seconds between two looks at the power sensor while requests are answered.",
    )


class PowerSettings(Section):
    """What this board may draw, and what happens when it is too hot or fed too little."""

    idle_watts: float | None = Field(
        default=None,
        gt=0,
        le=10_000,
        description="What the machine draws at rest, in watts; with `full_watts` it makes an estimate where "
        "there is no sensor, always labelled `estimated`.",
    )
    full_watts: float | None = Field(
        default=None, gt=0, le=10_000, description="What it draws with all cores busy, in watts."
    )
    hot_celsius: float = Field(
        default=80.0,
        ge=20,
        le=150,
        description="A processor this hot makes `health` `degraded`; it is well again 5 °C below.",
    )
    low_battery_percent: float = Field(
        default=15.0,
        ge=0,
        le=100,
        description="A battery this low makes `health` `degraded` while it is drawn from.",
    )
    strained_requests_per_second: float = Field(
        default=0.0,
        ge=0,
        le=1e6,
        description="While the board is too hot, throttled or fed too little: requests that one topic may "
        "bring a second; more are answered `overloaded`. 0: no fewer than else.",
    )
    strained_threads: int = Field(
        default=0,
        ge=0,
        le=64,
        description="Threads of the runtime meanwhile; 0: as many as else.",
    )

    @model_validator(mode="after")
    def _both_or_none(self) -> PowerSettings:
        if (self.idle_watts is None) != (self.full_watts is None):
            raise ValueError("idle_watts and full_watts are given together")
        if self.idle_watts is not None and self.full_watts is not None and self.full_watts < self.idle_watts:
            raise ValueError("full_watts must not be less than idle_watts")
        return self


class HomeAssistantSettings(Section):
    """The device as Home Assistant sees it, by MQTT discovery."""

    enabled: bool = Field(default=True, description="Announce the device to Home Assistant.")
    discovery_prefix: PlainTopic = Field(
        default="homeassistant", description="Home Assistant's discovery prefix, as set in its MQTT options."
    )
    device_name: str | None = Field(
        default=None,
        min_length=1,
        max_length=128,
        description="Name of the device in Home Assistant. Default: `Edge agent` and the device's id.",
    )
    area: str | None = Field(
        default=None, min_length=1, max_length=128, description="Area that Home Assistant suggests for it."
    )
    last_answer: bool = Field(
        default=False,
        description="Also an entity with the label and confidence of the last answer. They tell what was "
        "said, so they are off unless you switch them on.",
    )


class MetricsSettings(Section):
    """The endpoint for Prometheus."""

    enabled: bool = Field(default=False, description="Serve `/metrics` over HTTP.")
    host: str = Field(
        default="127.0.0.1",
        min_length=1,
        description="Address to listen on; the default is this machine only. There is no password.",
    )
    port: int = Field(default=9464, ge=1, le=65535, description="Port to listen on.")
