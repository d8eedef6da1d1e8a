"""What the zoo does with the Hugging Face Hub, through ``huggingface_hub``, which is imported only here."""

from __future__ import annotations

import os
import re
from pathlib import Path

from dream_agents.zoo.errors import ZooError
from dream_agents.zoo.sources import HubAddress

_SHA256 = re.compile(r"[0-9a-f]{64}")
_LOG_IN = "log in with `hf auth login` or set HF_TOKEN"


def endpoint() -> str:
    """Address of the hub: `HF_ENDPOINT`, as for ``huggingface_hub``, but read when it is needed."""
    return os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")


def download_file(address: HubAddress, folder: Path) -> tuple[Path, str, str | None]:
    """Download a file of a repository into a folder.

    A transfer that breaks is resumed a few times.

    :return: the file, the commit that it is from, and the SHA-256 that the hub publishes for it; None where it
        publishes none, as for small files
    :raises ZooError: if it can't be had, with the reason and what to do
    """
    from huggingface_hub import hf_hub_download

    try:
        pointer = Path(
            hf_hub_download(
                address.repo, address.path, revision=address.revision, cache_dir=folder, endpoint=endpoint()
            )
        )
    except Exception as error:  # those of the HTTP client differ with the version of huggingface_hub
        url = f"{endpoint()}/{address.repo}/resolve/{address.revision}/{address.path}"
        raise ZooError(f"{address} could not be downloaded from {url}: {_explain(error, address)}") from error
    commit = pointer.parents[address.path.count("/")].name
    blob = pointer.resolve()
    return blob, commit, blob.name if _SHA256.fullmatch(blob.name) else None


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
    except Exception as error:  # those of the HTTP client differ with the version of huggingface_hub
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
    if isinstance(error, errors.LocalEntryNotFoundError):
        cause = error.__cause__
        reason = f"{type(cause).__name__}: {_first_line(cause)}" if cause is not None else reason
        return (
            f"the hub could not be reached ({reason}). Check the connection (HF_HUB_OFFLINE has to be unset) and try "
            "again; or download the file by other means and load it by its path"
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return f'the repository has no revision "{address.revision}" ({reason})'
    if isinstance(error, errors.EntryNotFoundError):
        return f"the repository has no such file ({reason}). {page}/tree/{address.revision} shows those that it has"
    if isinstance(error, ValueError):  # its own checks of names
        return reason
    return f"{type(error).__name__}: {reason}. Check the connection and try again"


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
