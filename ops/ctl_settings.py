"""The settings that all commands of `gw-ctl` share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import model_validator

from eventbus.settings import Settings
from ops.broker_folder import url_of_running
from ops.run_settings import BROKER_FOLDER, DATA_DIR, data_dir_setting


class CtlSettings(Settings):
    """Where to ask: without AMQP_URL, the private node of the `gw-run` that runs with this data folder."""

    data_dir: Path = data_dir_setting()

    @model_validator(mode="before")
    @classmethod
    def _finds_the_private_node(cls, values: dict[str, Any]) -> dict[str, Any]:
        if "amqp_url" in values:
            return values
        url = url_of_running(Path(values.get("data_dir", DATA_DIR)) / BROKER_FOLDER)
        return values if url is None else {**values, "amqp_url": url}
