"""From what the user names to an agent: a zoo entry, a saved file, a run's folder or a checkpoint."""

from __future__ import annotations

import json
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dream_agents.runs.folder import ARGS, CHECKPOINTS, FINAL, FINAL_WEIGHTS
from dream_agents.runs.settings import read_keywords, read_settings

if TYPE_CHECKING:
    from dream_agents.agents.base import WorldModelAgent
    from dream_agents.agents.sac import SAC


def load_model(
    source: str | Path,
    env: str | None = None,
    device: str = "auto",
    agent: str | None = None,
    notice: Callable[[str], Any] = warnings.warn,
) -> WorldModelAgent | SAC:
    """Load an agent.

    :param source: a name in the zoo, a folder of the zoo's form, a ``.pt`` file of TD-MPC2 or BMPC, the address of
        either, a ``.zip`` that an agent saved, a run's folder (its final model, or its newest good checkpoint where
        that is newer), a folder of checkpoints, or one checkpoint
    :param env: the environment's id where the source does not say it
    :param device: PyTorch's device, or "auto"
    :param agent: name of the agent where the source does not say it
    :param notice: told of a checkpoint that is taken in place of a run's final model
    :raises ValueError: if the source is none of these
    """
    from dream_agents import zoo

    path = Path(source)
    if path.is_dir() and not (path / "card.toml").exists():
        return _load_folder(path, device, agent, notice)
    if path.is_file() and path.suffix == ".zip":
        return _load_zip(path, device, agent)
    if path.exists() and path.suffix != ".pt" and not path.is_dir():
        raise ValueError(
            f"{path} is neither a folder nor a .zip that an agent saved nor a .pt file of TD-MPC2 or BMPC"
        )
    return zoo.load(source, env=env, device=device)


def is_entry(source: str | Path) -> bool:
    """Tell whether a source is an entry of the zoo, which has a card, rather than a file or folder of another kind.

    :param source: as for :func:`load_model`
    """
    path = Path(source)
    if path.is_dir():
        return (path / "card.toml").exists()
    return not path.exists() and path.suffix not in (".pt", ".zip")


def _load_folder(
    folder: Path, device: str, agent: str | None, notice: Callable[[str], Any]
) -> WorldModelAgent | SAC:
    """Load from a run's folder, or from a folder that holds checkpoints, or is one; without pickle where it can be."""
    from dream_agents.agents.checkpoint import AGENT_FILE, newest_good_checkpoint

    run = folder
    if (run / ARGS).is_file():
        file = _newest_of_run(run, notice)
    else:
        file = newest_good_checkpoint(folder) / AGENT_FILE
        run = file.resolve().parents[2]
        if not (run / ARGS).is_file():
            return _load_zip(file, device, agent)
    if agent in (None, read_settings(run).agent) and _has_plain_weights(run, file):
        return _make_from_weights(run, _plain_weights_of(file), device)
    notice(f"{file} holds pickled objects, which can run code, and has no weights without them")
    return _load_zip(file, device, agent or read_settings(run).agent)


def _newest_of_run(run: Path, notice: Callable[[str], Any]) -> Path:
    """Find the final model, or a good checkpoint of a run that was made longer and did not end.

    :raises FileNotFoundError: if there is neither
    """
    from dream_agents.agents.checkpoint import AGENT_FILE, find_checkpoints, newest_good_checkpoint

    final, checkpoints = run / FINAL, run / CHECKPOINTS
    if not final.is_file():
        return newest_good_checkpoint(checkpoints) / AGENT_FILE
    decisions = saved_decisions(final)
    if not any(decisions_of(checkpoint) > decisions for checkpoint in find_checkpoints(checkpoints)):
        return final
    try:
        newest = newest_good_checkpoint(checkpoints)
    except FileNotFoundError:
        return final
    if decisions_of(newest) <= decisions:
        return final
    notice(f"the run went on after {final}; this is {newest}")
    return newest / AGENT_FILE


def _plain_weights_of(file: Path) -> Path:
    """The file without pickle that lies next to a final model or a checkpoint's agent."""
    from dream_agents.agents.checkpoint import WEIGHTS_FILE

    return file.with_name(FINAL_WEIGHTS if file.name == FINAL else WEIGHTS_FILE)


def _has_plain_weights(folder: Path, file: Path) -> bool:
    """Tell whether weights without pickle are there, of the same decisions, and how their agent is made."""
    from dream_agents.agents.plain_weights import read_counters

    path = _plain_weights_of(file)
    return (
        path.is_file()
        and read_keywords(folder) is not None
        and read_counters(path)["num_timesteps"] == saved_decisions(file)
    )


def _make_from_weights(folder: Path, path: Path, device: str) -> WorldModelAgent | SAC:
    """Make a run's agent by its settings, and give it weights and counters; nothing is unpickled."""
    from dream_agents.agents.plain_weights import put_weights
    from dream_agents.registry import agents

    settings, keywords = read_settings(folder), read_keywords(folder) or {}
    keywords.pop("vec_env_cls", None)  # one environment tells the sizes
    model: WorldModelAgent | SAC = agents.get(settings.agent)(
        settings.env, seed=settings.seed, device=device, **keywords
    )
    assert model.env is not None
    model.env.close()
    model.env = None
    put_weights(model, path)
    return model


def decisions_of(checkpoint: Path) -> int:
    """Read the decisions of a checkpoint off its name.

    :param checkpoint: its folder
    """
    return int(checkpoint.name.rpartition("_")[2])


def saved_decisions(path: Path) -> int:
    """Read the decisions of a saved agent, without unpickling anything.

    :param path: the file
    :raises ValueError: if no agent saved it
    """
    return int(_saved_data(path)["num_timesteps"])


def _load_zip(path: Path, device: str, agent: str | None) -> WorldModelAgent | SAC:
    from dream_agents.registry import agents

    loaded: WorldModelAgent | SAC = agents.get(agent or _agent_of(path)).load(path, device=device)
    return loaded


def _agent_of(path: Path) -> str:
    """Tell from a saved file, without unpickling anything, which agent can load it.

    World-model agents differ in how they learn; to act, each can take what another one saved.

    :raises ValueError: if no agent of this package saved the file
    """
    if (path.parent / ARGS).is_file():
        return read_settings(path.parent).agent
    saved = _saved_data(path)
    if "agent_name" in saved:
        return str(saved["agent_name"])
    if "backbone_name" not in saved:
        raise ValueError(f"{path} does not say which agent saved it; name it with --agent")
    return "dream_mpc"


def _saved_data(path: Path) -> dict[str, Any]:
    """Read the plain values in a saved file, without unpickling anything.

    :raises ValueError: if no agent saved the file
    """
    try:
        with zipfile.ZipFile(path) as archive:
            data: dict[str, Any] = json.loads(archive.read("data"))
    except (zipfile.BadZipFile, KeyError, ValueError) as error:
        raise ValueError(f"{path} is not a file that an agent saved ({error})") from error
    return data
