"""Entries and models, written for others: as a folder, as a file of the public codes, or to the Hugging Face Hub."""

from __future__ import annotations

import dataclasses
import io
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

from dream_agents.models.tdmpc import ImplicitWorldModel
from dream_agents.zoo import hub
from dream_agents.zoo.cards import CARD_FILE, FORMATS, Card
from dream_agents.zoo.catalog import Entry, find
from dream_agents.zoo.errors import ZooError
from dream_agents.zoo.files import checksum, write_aside
from dream_agents.zoo.loading import load_world_model, verify
from dream_agents.zoo.reading import locate_weights, read_entry
from dream_agents.zoo.saving import save, write_entry
from dream_agents.zoo.sources import EMBEDDED
from dream_agents.zoo.tdmpc2_import import to_tdmpc2_state_dict
from dream_agents.zoo.weights import build_world_model, pack

if TYPE_CHECKING:
    from dream_agents.agents.base import WorldModelAgent

_REPOSITORY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*/[A-Za-z0-9_][A-Za-z0-9_.-]*")


def export(
    model: WorldModelAgent | str | Path,
    path: str | Path,
    layout: Literal["new", "old"] = "new",
    **options: Any,
) -> Path:
    """Write a model where others can take it: as an entry's folder, or as a ``.pt`` file of the public codes.

        >>> zoo.export("tdmpc2-walker-walk", "walker-walk.pt")  # for TD-MPC2's public code
        >>> zoo.export("tdmpc2-official/walker-walk-1", "walker-walk")

    :param model: an agent, or an entry's name, folder or address, which is downloaded if it is not here
    :param path: a file that ends in ``.pt``, for models of TD-MPC2 and BMPC; any other name is that of a folder
    :param layout: of a ``.pt`` file: "new" for the code since April 2025, "old" for the code before it
    :param options: of :func:`save`, for a folder that is made from an agent
    :return: what was written
    :raises ZooError: if the model has no such layout, its files are damaged, or there is something at ``path`` already
    """
    path = Path(path)
    if path.is_file() or (path / CARD_FILE).exists():
        raise ZooError(f"{path} is there already; name another place, or remove it")
    if path.suffix == ".pt":
        _write_public(model, path, layout)
    elif isinstance(model, str | Path):
        _write_folder(find(model, download=True), path)
    else:
        save(model, path, **options)
    return path


def push(
    model: WorldModelAgent | str | Path,
    repo: str,
    *,
    private: bool = False,
    token: str | None = None,
    **options: Any,
) -> str:
    """Upload a model's card and weights to a repository on the Hugging Face Hub; ``load("hf://<repo>")`` takes it.

        >>> zoo.push("path/to/my-entry", "somebody/my-entry")
        >>> zoo.push(model, "somebody/my-entry", license="MIT", authors="Somebody")

    :param model: an agent, or an entry's folder or name
    :param repo: ``<owner>/<name>``; it is made if it is not there
    :param private: whether a repository that is made is private
    :param token: of an account that may write there; None for that of ``hf auth login`` or `HF_TOKEN`
    :param options: of :func:`save`, where ``model`` is an agent
    :return: address of the commit
    :raises ZooError: if the entry is not as it should be, or the hub refuses
    """
    if _REPOSITORY.fullmatch(repo) is None:
        raise ZooError(f'repo = "{repo}" is not a repository\'s name; expected "<owner>/<name>"')
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "entry"
        if isinstance(model, str | Path):
            if options:
                raise ZooError(f"{', '.join(options)}: only for an agent; the entry's card says these")
            verify(model)
            _write_folder(find(model), folder)
        else:
            options.setdefault("name", repo.partition("/")[2].lower())
            save(model, folder, **options)
        card = verify(folder)
        return hub.upload_folder(folder, [CARD_FILE, FORMATS[card.format]], repo, private, token)


def _write_public(model: WorldModelAgent | str | Path, path: Path, layout: Literal["new", "old"]) -> None:
    world_model = (
        load_world_model(model, device="cpu") if isinstance(model, str | Path) else model.world_model
    )
    if not isinstance(world_model, ImplicitWorldModel):
        raise ZooError(f"a {type(world_model).__name__} has no public layout; export it as a folder")
    state = to_tdmpc2_state_dict(world_model, layout)
    buffer = io.BytesIO()
    torch.save(
        {"model": {key: value.cpu() if not value.is_meta else value for key, value in state.items()}}, buffer
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_aside(path, buffer.getvalue())


def _write_folder(entry: Entry, folder: Path) -> None:
    """Copy an entry; weights of another format are converted to ours, as they are, in float32."""
    card = entry.card
    if card.format == "dream-agents":
        read_entry(entry, download=True)
        data = locate_weights(entry, download=True).read_bytes()
    else:
        state = read_entry(entry, download=True)
        world_model = build_world_model(card.network, card.backbone)
        world_model.load_state_dict(state)
        data = pack(world_model, torch.float32)
    write_entry(folder, _embedded_card(card, data), data)


def _embedded_card(card: Card, data: bytes) -> Card:
    return dataclasses.replace(
        card, source=EMBEDDED, format="dream-agents", sha256=checksum(data), size=len(data)
    )
