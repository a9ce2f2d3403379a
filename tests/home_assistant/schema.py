"""The device discovery payload as Home Assistant takes it, written down: a payload that parses here is taken.

Stricter where it can be: Home Assistant drops unknown keys silently, here they are refused, since they are
typing errors.

Sources, all of Home Assistant 2025.2 (``homeassistant/components/…``):

- root, device, origin, availability: ``mqtt/schemas.py``: ``DEVICE_DISCOVERY_SCHEMA``,
  ``MQTT_ENTITY_DEVICE_INFO_SCHEMA``, ``MQTT_ORIGIN_INFO_SCHEMA``, ``MQTT_AVAILABILITY_LIST_SCHEMA``
- options of every entity: ``MQTT_ENTITY_COMMON_SCHEMA`` there, ``mqtt/config.py``
- of each platform: ``PLATFORM_SCHEMA_MODERN`` and validators in ``mqtt/{sensor,binary_sensor,…}.py``
- topics: ``mqtt/util.py`` ``valid_topic``, ``valid_subscribe_topic``, ``valid_publish_topic``
- units and state classes of a device class: ``sensor/const.py`` ``DEVICE_CLASS_UNITS``,
  ``DEVICE_CLASS_STATE_CLASSES``
- the topic's object id: ``mqtt/discovery.py`` ``TOPIC_MATCHER``
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

import jinja2
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, model_validator
from typing_extensions import Self

TOPIC = re.compile(r"(?P<prefix>.+)/device/(?P<object_id>[a-zA-Z0-9_-]+)/config")

_UNITS: dict[str | None, set[str | None]] = {
    "power": {"mW", "W", "kW", "MW", "GW", "TW"},
    "energy": {"J", "kJ", "MJ", "GJ", "mWh", "Wh", "kWh", "MWh", "GWh", "TWh", "cal", "kcal", "Mcal", "Gcal"},
    "temperature": {"°C", "°F", "K"},
    "battery": {"%"},
    "duration": {"d", "h", "min", "s", "ms"},
    "enum": {None},
}
_STATE_CLASSES: dict[str | None, set[str | None]] = {
    "power": {"measurement"},
    "energy": {"total", "total_increasing"},
    "temperature": {"measurement"},
    "battery": {"measurement"},
    "duration": {"measurement", "total", "total_increasing"},
    "enum": {None},
}


def _topic(value: str) -> str:
    encoded = value.encode("utf-8")
    assert 0 < len(encoded) <= 65_535, "its length"
    assert not re.search(r"[\x00-\x1f\x7f-\x9f]", value), "a control character"
    return value


def _publish_topic(value: str) -> str:
    assert not set("+#") & set(value), "a wildcard"
    return _topic(value)


def _template(value: str) -> str:
    jinja2.Environment(autoescape=False).parse(value)
    return value


_Topic = Annotated[str, AfterValidator(_topic)]
_CommandTopic = Annotated[str, AfterValidator(_publish_topic)]
_Template = Annotated[str, AfterValidator(_template)]
_Category = Literal["config", "diagnostic"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Availability(_Strict):
    topic: _Topic
    payload_available: str = "online"
    payload_not_available: str = "offline"
    value_template: _Template | None = None


class Device(_Strict):
    """Only the keys that we send; all are plain strings."""

    identifiers: Annotated[list[str], Field(min_length=1)]
    name: Annotated[str, Field(min_length=1)]
    manufacturer: str | None = None
    model: str | None = None
    sw_version: str | None = None
    suggested_area: Annotated[str, Field(min_length=1)] | None = None


class Origin(_Strict):
    name: str
    sw_version: str | None = None
    support_url: Annotated[str, Field(pattern=r"^https?://")] | None = None


class _Entity(_Strict):
    unique_id: Annotated[str, Field(min_length=1)]
    name: Annotated[str, Field(min_length=1)] | None = None
    entity_category: _Category | None = None
    enabled_by_default: bool = True
    icon: Annotated[str, Field(pattern=r"^mdi:")] | None = None
    availability: list[Availability] | None = None
    availability_mode: Literal["all", "any", "latest"] = "latest"
    json_attributes_topic: _Topic | None = None
    json_attributes_template: _Template | None = None
    qos: Literal[0, 1, 2] = 0
    encoding: str = "utf-8"


class Sensor(_Entity):
    platform: Literal["sensor"]
    state_topic: _Topic
    value_template: _Template | None = None
    device_class: Literal["power", "energy", "temperature", "battery", "duration", "enum"] | None = None
    state_class: Literal["measurement", "total", "total_increasing"] | None = None
    unit_of_measurement: str | None = None
    suggested_display_precision: Annotated[int, Field(ge=0)] | None = None
    options: Annotated[list[str], Field(min_length=1)] | None = None
    expire_after: Annotated[int, Field(gt=0)] | None = None
    last_reset_value_template: _Template | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        """``validate_sensor_state_and_device_class_config`` and the warnings of ``sensor/__init__.py``."""
        if self.last_reset_value_template is not None:
            assert self.state_class == "total"
        if self.options is not None:
            assert self.device_class == "enum"
            assert self.state_class is None
            assert self.unit_of_measurement is None
        if self.device_class is not None:
            assert self.unit_of_measurement in _UNITS[self.device_class]
            assert self.state_class in _STATE_CLASSES[self.device_class]
        return self


class BinarySensor(_Entity):
    platform: Literal["binary_sensor"]
    state_topic: _Topic
    value_template: _Template | None = None
    device_class: Literal["connectivity", "problem"] | None = None
    payload_on: str = "ON"
    payload_off: str = "OFF"
    expire_after: Annotated[int, Field(gt=0)] | None = None
    # binary_sensor/__init__.py: "Entity … cannot be added as the entity category is set to config"
    entity_category: Literal["diagnostic"] | None = None


class Button(_Entity):
    platform: Literal["button"]
    command_topic: _CommandTopic
    command_template: _Template | None = None
    payload_press: str = "PRESS"
    device_class: Literal["identify", "restart", "update"] | None = None


class Text(_Entity):
    platform: Literal["text"]
    command_topic: _CommandTopic
    command_template: _Template | None = None
    state_topic: _Topic | None = None
    value_template: _Template | None = None
    min: Annotated[int, Field(ge=0)] = 0
    max: Annotated[int, Field(ge=0, le=255)] = 255
    mode: Literal["text", "password"] = "text"


class Update(_Entity):
    platform: Literal["update"]
    state_topic: _Topic
    value_template: _Template | None = None
    command_topic: _CommandTopic | None = None
    payload_install: str | None = None
    device_class: Literal["firmware"] | None = None


class Gone(_Strict):
    """A component with its platform alone is removed (``_COMPONENT_CONFIG_SCHEMA``)."""

    platform: Literal["sensor", "binary_sensor", "button", "text", "update"]


_Present = Annotated[Sensor | BinarySensor | Button | Text | Update, Field(discriminator="platform")]
_PRESENT: TypeAdapter[Any] = TypeAdapter(_Present)


class Payload(_Strict):
    device: Device
    origin: Origin
    components: dict[str, dict[str, Any]]
    availability: list[Availability] | None = None
    availability_mode: Literal["all", "any", "latest"] = "latest"
    state_topic: _Topic | None = None
    command_topic: _CommandTopic | None = None

    def present(self) -> dict[str, Sensor | BinarySensor | Button | Text | Update]:
        """The components that are there."""
        return {key: _PRESENT.validate_python(one) for key, one in self.components.items() if len(one) > 1}

    def gone(self) -> dict[str, str]:
        """Platform by component of those to be removed."""
        return {
            key: Gone.model_validate(one).platform for key, one in self.components.items() if len(one) == 1
        }


def parse(payload: bytes) -> Payload:
    """A payload that Home Assistant takes.

    Raises:
        pydantic.ValidationError: it is none.
    """
    parsed = Payload.model_validate_json(payload)
    ids = [entity.unique_id for entity in parsed.present().values()]
    assert len(ids) == len(set(ids)), "a unique id stands twice"
    parsed.gone()
    return parsed
