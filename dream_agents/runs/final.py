"""A run's final model: never there in part, and never lost to a longer run's."""

from __future__ import annotations

import io
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from dream_agents.runs.folder import FINAL, FINAL_WEIGHTS
from dream_agents.runs.loading import saved_decisions

if TYPE_CHECKING:
    from dream_agents.agents.base import WorldModelAgent
    from dream_agents.agents.sac import SAC


def save_final(model: WorldModelAgent | SAC, folder: Path) -> None:
    """Write ``final.zip``, and its weights without pickle; the zip of a shorter run stays as ``final-<decisions>.zip``.

    :param model: the agent
    :param folder: the run's folder
    :raises OSError: if it can't be written; what was there then stays
    """
    from dream_agents.agents.plain_weights import pack_weights

    final, unfinished = folder / FINAL, folder / f".unfinished-{FINAL}"
    content = io.BytesIO()  # a full disk is no OSError where PyTorch writes itself
    model.save(content)
    try:
        unfinished.write_bytes(pack_weights(model))
        unfinished.replace(folder / FINAL_WEIGHTS)
        unfinished.write_bytes(content.getbuffer())
        if final.is_file():
            shutil.copy2(final, final.with_stem(f"{final.stem}-{saved_decisions(final)}"))
        unfinished.replace(final)
    finally:
        unfinished.unlink(missing_ok=True)
