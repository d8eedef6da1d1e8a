"""World-model agents that plan, with the API of Stable-Baselines3.

Names are imported when they are first used, so that ``import dream_agents`` stays quick.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if not (Path(__file__).parent / "registry").is_dir():
    # In a checkout, some sub-packages stand next to this one. Python started there finds it before an installed one.
    __path__.append(str(Path(__file__).parents[1]))

from dream_agents.lazily import after_import

if TYPE_CHECKING:
    from dream_agents import registry, zoo
    from dream_agents.agents.bmpc import BMPC
    from dream_agents.agents.dream_mpc import DreamMPC
    from dream_agents.agents.dreamer import DreamerV3
    from dream_agents.agents.sac import SAC
    from dream_agents.agents.sac_ae import SACAE
    from dream_agents.agents.tdmpc2 import TDMPC2
    from dream_agents.planners import make_planner
    from dream_agents.wrappers import make_env, make_vec_env

__version__ = "0.1.0"

__all__ = [
    "BMPC",
    "SAC",
    "SACAE",
    "TDMPC2",
    "DreamMPC",
    "DreamerV3",
    "make_env",
    "make_planner",
    "make_vec_env",
    "registry",
    "zoo",
]

_SOURCES = {
    "BMPC": "dream_agents.agents.bmpc",
    "DreamMPC": "dream_agents.agents.dream_mpc",
    "DreamerV3": "dream_agents.agents.dreamer",
    "SAC": "dream_agents.agents.sac",
    "SACAE": "dream_agents.agents.sac_ae",
    "TDMPC2": "dream_agents.agents.tdmpc2",
    "make_env": "dream_agents.wrappers",
    "make_planner": "dream_agents.planners",
    "make_vec_env": "dream_agents.wrappers",
}


def _register_environments() -> None:
    from dream_agents.registry.environments import register_all

    register_all()


# Controllers run where there is no Gymnasium, or no time to import it (dream_agents.deploy).
after_import("gymnasium", _register_environments)


def __getattr__(name: str) -> Any:
    if name in _SOURCES:
        return getattr(import_module(_SOURCES[name]), name)
    if name in ("registry", "zoo"):
        return import_module(f"dream_agents.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
