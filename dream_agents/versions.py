"""Which packages a figure or a file was made with."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

_PACKAGES = ("dream-agents", "torch", "stable-baselines3", "gymnasium", "mujoco", "dm-control", "numpy")


def package_versions() -> dict[str, str]:
    """Versions of the installed packages that results depend on."""
    versions = {}
    for name in _PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions
