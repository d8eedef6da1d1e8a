"""Addresses of entries and weights that are not here: a repository of the Hugging Face Hub, or a web server."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import urlsplit

from dream_agents.zoo.errors import ZooError

#: Source of weights that lie next to their card.
EMBEDDED = "embedded"

_SCHEMES = ("hf://", "https://", "http://")
#: What a part of a path may be; none leads out of a folder or hides in it.
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+=%~-]{0,199}")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?|::1")
_LONGEST = 1000
_THIS_MACHINE = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class HubAddress:
    """A file or folder in a repository of models: ``hf://<repo>@<revision>/<path>``.

    :param repo: ``<owner>/<name>``
    :param revision: branch, tag or commit
    :param path: in the repository; empty for its root
    """

    repo: str
    revision: str
    path: str

    def __str__(self) -> str:
        return "/".join(part for part in (f"hf://{self.repo}@{self.revision}", self.path) if part)

    @property
    def cache_path(self) -> PurePosixPath:
        """Where it is kept, from the cache's folder on."""
        return PurePosixPath("hf", f"{self.repo}@{self.revision}", self.path)


@dataclass(frozen=True)
class WebAddress:
    """A file or folder on a web server: ``https://<host>/<path>``.

    :param url: the address, without a slash at its end
    """

    url: str

    def __str__(self) -> str:
        return self.url

    @property
    def cache_path(self) -> PurePosixPath:
        """Where it is kept, from the cache's folder on."""
        parts = urlsplit(self.url)
        return PurePosixPath("web", parts.netloc.replace(":", "_"), parts.path.strip("/"))


Address = HubAddress | WebAddress


def is_address(text: str) -> bool:
    """Tell whether a text is meant as an address, right or wrong."""
    return text.startswith(_SCHEMES)


def parse_address(text: str) -> Address:
    """Read an address.

    :raises ZooError: if it is none, or its path would lead elsewhere
    """
    if len(text) > _LONGEST:
        raise ZooError(f'"{text[:80]}..." has {len(text)} characters; an address has {_LONGEST} at most')
    if text.startswith("hf://"):
        return _parse_hub(text)
    if text.startswith(_SCHEMES):
        return _parse_web(text)
    raise ZooError(
        f'"{text}" is not an address; expected hf://<repo>@<revision>/<path> or https://<host>/<path>'
    )


def inside(text: str, file: str) -> str:
    """Address of a file in the folder with an address.

    :raises ZooError: as :func:`parse_address`
    """
    return f"{parse_address(text)}/{file}"


def _parse_hub(text: str) -> HubAddress:
    owner, _, rest = text.removeprefix("hf://").strip("/").partition("/")
    name, _, path = rest.partition("/")
    name, at, revision = name.partition("@")
    if not at:
        revision = "main"
    _check_parts(text, [owner, name, revision, *(path.split("/") if path else [])])
    return HubAddress(f"{owner}/{name}", revision, path)


def _parse_web(text: str) -> WebAddress:
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise ZooError(f'"{text}" is not an address: {error}') from error
    if parts.scheme != "https" and host not in _THIS_MACHINE:
        raise ZooError(f'"{text}" is not encrypted; use https://')
    if (
        not host
        or _HOST.fullmatch(host) is None
        or parts.query
        or parts.fragment
        or parts.username
        or parts.password
    ):
        raise ZooError(f'"{text}" is not https://<host>/<path>, without user, query or fragment')
    _check_parts(text, parts.path.strip("/").split("/"))
    return WebAddress(text.rstrip("/"))


def _check_parts(text: str, parts: list[str]) -> None:
    for part in parts:
        if not _PART.fullmatch(part):
            raise ZooError(
                f'"{text}" has "{part}" between its slashes; expected letters, digits and . _ + = % ~ -, '
                "200 at most, not starting with a dot or a dash"
            )
