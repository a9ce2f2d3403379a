"""The settings of the daemon: TOML, environment and secret files in one checked, frozen model.

The only part that reads the environment or the settings file. Every key has a default that works on a
laptop with a broker on localhost; the environment (``EDGE_AGENT_MQTT__HOST``) goes before the file, and
an unknown key is an error that names the nearest known one. Secrets are never written into the file:
they come from a file that is named there, or from a systemd credential.
"""

from edge_agent.settings.loading import (
    DEFAULT_PATH,
    describe,
    environment_folders,
    known_keys,
    load_settings,
    may_repeat,
    public_settings,
    read_password,
    variable_of,
)
from edge_agent.settings.sections import (
    DeviceSettings,
    MqttSettings,
    RouteSettings,
    Settings,
    device_id_from,
)

__all__ = [
    "DEFAULT_PATH",
    "DeviceSettings",
    "MqttSettings",
    "RouteSettings",
    "Settings",
    "describe",
    "device_id_from",
    "environment_folders",
    "known_keys",
    "load_settings",
    "may_repeat",
    "public_settings",
    "read_password",
    "variable_of",
]
