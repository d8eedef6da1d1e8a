"""What the zoo does with the Hugging Face Hub, through ``huggingface_hub``, which is imported only here."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import urlsplit

from dream_agents.zoo.errors import ZooError
from dream_agents.zoo.files import BoundedFile
from dream_agents.zoo.sources import HubAddress

_SHA256, _COMMIT = re.compile(r"[0-9a-f]{64}"), re.compile(r"[0-9a-f]{40}")
_LOG_IN = "log in with `hf auth login` or set HF_TOKEN"


def endpoint() -> str:
    """Address of the hub: `HF_ENDPOINT`, as for ``huggingface_hub``, but read when it is needed."""
    return os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")


def download_file(address: HubAddress, path: Path, most: int) -> tuple[str, str | None]:
    """Download a file of a repository.

    A transfer that breaks is resumed a few times. Nothing that the hub says becomes a name of a file: what
    ``hf_hub_download`` does with its cache, which is laid out by the hub's ETag and commit, is not used.

    :param path: where the file goes
    :param most: bytes after which the transfer is given up
    :return: the commit that it is from, and the SHA-256 that the hub publishes for it; None where it publishes none, as
        for small files
    :raises ZooError: if it can't be had, with the reason and what to do
    """
    from huggingface_hub import get_hf_file_metadata
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers

    url = f"{endpoint()}/{address.repo}/resolve/{address.revision}/{address.path}"
    try:
        found = get_hf_file_metadata(url, endpoint=endpoint())
        # A token is for the hub alone, not for the host that large files come from.
        headers = build_hf_headers() if urlsplit(found.location).netloc == urlsplit(url).netloc else {}
        with BoundedFile(path, most, str(address)) as file:
            http_get(found.location, file, headers=headers, expected_size=found.size)
    except ZooError:
        raise
    except Exception as error:  # the HTTP client's exceptions differ with the version of huggingface_hub
        raise ZooError(f"{address} could not be downloaded from {url}: {_explain(error, address)}") from error
    if _COMMIT.fullmatch(found.commit_hash or "") is None:
        raise ZooError(f"{url} names no commit, as a Hugging Face Hub does; check HF_ENDPOINT and the proxy")
    return str(found.commit_hash), found.etag if _SHA256.fullmatch(found.etag or "") else None


def upload_folder(folder: Path, files: list[str], repo: str, private: bool, token: str | None) -> str:
    """Upload files of a folder to a repository in one commit, after making the repository if it is not there.

    :return: the commit's address
    :raises ZooError: if the hub refuses, with the reason and what to do
    """
    from huggingface_hub import CommitOperationAdd, HfApi

    api = HfApi(endpoint=endpoint(), token=token)
    operations = [CommitOperationAdd(path_in_repo=name, path_or_fileobj=str(folder / name)) for name in files]
    try:
        api.create_repo(repo, private=private, exist_ok=True)
        commit = api.create_commit(repo, operations, commit_message=f"Add {', '.join(files)}")
    except Exception as error:  # the HTTP client's exceptions differ with the version of huggingface_hub
        raise ZooError(f"{repo} could not be pushed to {endpoint()}: {_explain_push(error)}") from error
    return str(commit.commit_url)


def _explain(error: Exception, address: HubAddress) -> str:
    """Say why a download failed, and what to do."""
    from huggingface_hub import errors

    reason = _first_line(error)
    page = f"{endpoint()}/{address.repo}"
    if isinstance(error, errors.GatedRepoError):
        return f"its authors give access on request ({reason}). Ask for it on {page}, and {_LOG_IN}"
    if isinstance(error, errors.RepositoryNotFoundError):
        return f"there is no such repository, or it is private ({reason}). Check the name, or {_LOG_IN}"
    if _is_unreachable(error):
        return (
            f"the hub could not be reached ({type(error).__name__}: {reason}). Check the connection "
            "(HF_HUB_OFFLINE has to be unset) and try again; or download the file by other means and load it by its "
            "path"
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return f'the repository has no revision "{address.revision}" ({reason})'
    if isinstance(error, errors.EntryNotFoundError):
        return f"the repository has no such file ({reason}). {page}/tree/{address.revision} shows those that it has"
    if isinstance(error, ValueError):  # its own checks of names
        return reason
    return f"{type(error).__name__}: {reason}. Check the connection and try again"


def _is_unreachable(error: Exception) -> bool:
    """Tell whether the network is at fault, whichever HTTP client this version of ``huggingface_hub`` has."""
    return isinstance(error, ConnectionError) or "TransportError" in [
        kind.__name__ for kind in type(error).__mro__
    ]


def _explain_push(error: Exception) -> str:
    from huggingface_hub import errors

    status = getattr(getattr(error, "response", None), "status_code", None)
    reason = _first_line(error)
    if isinstance(error, errors.LocalTokenNotFoundError) or status == 401:
        return f"the hub wants a token that may write ({reason}); {_LOG_IN}, or pass token="
    if status == 403:
        return f"the token may not write there ({reason}); use one that has write access to the repository"
    if isinstance(error, ValueError):
        return f'{reason}; expected "<owner>/<name>"'
    return f"{type(error).__name__}: {reason}. Check the connection and try again"


def _first_line(error: BaseException) -> str:
    return " ".join(str(error).split("\n\n")[0].split()).rstrip(".")
