"""Entry point `verl.plugins: bapo`: what verl imports, in every process, at `import verl`.

verl logs an error in a plugin at DEBUG and goes on, and every process pays for what a plugin imports. So this
module holds only what is cheap and what fails loudly elsewhere: without the search path Hydra says
"Could not find 'algorithm/bapo'"; without the platform verl says "Unknown platform 'cpu'". The callback comes before
the search path, so that the flag is not known where the checks are not there.
"""

import logging
import os

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.plugins.search_path_plugin import SearchPathPlugin


def add_driver_check() -> None:
    """Adds a callback to Hydra's own config. Hydra imports it where an application starts, which is on the driver."""
    store = ConfigStore.instance()
    config = store.load("hydra/config.yaml")
    config.node.callbacks["bapo_verl"] = {"_target_": "bapo_verl.driver_check.DriverCheck"}
    store.store("config", config.node, group="hydra", provider=config.provider)


class BapoSearchPathPlugin(SearchPathPlugin):
    """Puts `bapo_verl/config` on Hydra's search path, wherever the command is started."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        search_path.append(provider="bapo-verl", path="pkg://bapo_verl.config")


add_driver_check()
Plugins.instance().register(BapoSearchPathPlugin)

if os.environ.get("VERL_PLATFORM", "").strip().lower() == "cpu":
    try:
        import bapo_verl.cpu  # noqa: F401  registers the platform
    except Exception:
        logging.getLogger(__name__).exception("the platform cpu cannot be registered")  # verl would hide the reason
        raise
