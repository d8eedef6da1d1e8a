"""MuJoCo's OpenGL: chosen when, and only when, something is to be rendered, and freed before Python ends."""

from __future__ import annotations

import ctypes
import os
import platform
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

_VARIABLE = "MUJOCO_GL"
_OFF = ("disable", "disabled", "off", "false", "0")
HEADLESS = ("egl", "osmesa")
"""Backends that need no display."""

_EGL_PLATFORM_DEVICE_EXT = 0x313F
_INSTALL = (
    "On Debian and Ubuntu, `apt-get install libosmesa6` (software, OSMesa) or "
    "`apt-get install libegl1 libopengl0 libgl1-mesa-dri` (EGL, also on GPUs) gives one."
)


class RenderingUnavailableError(RuntimeError):
    """Rendering was asked for where no OpenGL backend works."""


def select_backend() -> str:
    """Return MuJoCo's OpenGL backend for this process: ``"egl"``, ``"osmesa"`` or ``"glfw"``.

    The environment variable `MUJOCO_GL` decides where it is set. Otherwise, on Linux, the first that works
    of EGL, OSMesa and (with a display) GLFW is chosen and written to `MUJOCO_GL`, so that child processes
    use it too.

    :raises RenderingUnavailableError: if none works, or `MUJOCO_GL` names one that does not
    """
    wanted = _wanted()
    if wanted in _OFF:
        raise RenderingUnavailableError(
            f"rendering was asked for, but {_VARIABLE}={wanted} switches it off; unset {_VARIABLE}"
        )
    if platform.system() != "Linux":
        return wanted if wanted in HEADLESS else "glfw"
    if wanted:
        backend = wanted if wanted in HEADLESS else "glfw"
        if not is_usable(backend):
            raise RenderingUnavailableError(
                f"rendering was asked for, but {_VARIABLE}={wanted} does not work on this machine"
                f"{'' if backend in HEADLESS else ', which has no display; unset it'}. {_INSTALL}"
            )
        return backend
    for backend in (*HEADLESS, "glfw"):
        if is_usable(backend):
            os.environ[_VARIABLE] = backend
            return backend
    raise RenderingUnavailableError(
        "rendering was asked for, but neither EGL nor OSMesa works on this machine and there is no display. "
        + _INSTALL
    )


def is_usable(backend: str) -> bool:
    """Tell whether a backend works on this machine, without loading Python's OpenGL bindings.

    They bind to one backend for good, so that a failed try would spoil the next.
    """
    if backend == "egl":
        # PyOpenGL takes OpenGL's own functions from whichever of these it finds first.
        return _egl_has_display() and any(map(_loads, ("libOpenGL.so.0", "libGL.so.1", "libGLESv2.so.2")))
    if backend == "osmesa":
        return any(_loads(f"libOSMesa.so{version}") for version in ("", ".8", ".7", ".6"))
    return any(os.environ.get(variable) for variable in ("DISPLAY", "WAYLAND_DISPLAY"))


def import_mujoco() -> Any:
    """Import mujoco, also where `MUJOCO_GL` names an OpenGL backend that does not work; return the module.

    mujoco loads that backend when it is first imported. State observations need none.
    """
    wanted = _wanted()
    fails = "mujoco" not in sys.modules and wanted in HEADLESS and not is_usable(wanted)
    with switched_off() if fails else nullcontext():
        import mujoco
    return mujoco


def at_exit(free: Callable[[], object]) -> None:
    """Have a function called when Python is about to end, though not in processes that are forked meanwhile.

    `atexit` is too late to free what OpenGL holds: the threads it belongs to have ended by then, and MuJoCo and
    dm_control shut EGL down in `atexit`, before or after other functions there, as they happened to be imported.
    """
    process = os.getpid()

    def free_here() -> None:
        if os.getpid() == process:
            free()

    threading._register_atexit(free_here)  # type: ignore[attr-defined]  # as concurrent.futures does


@contextmanager
def switched_off() -> Iterator[None]:
    """Set ``MUJOCO_GL=disable`` inside the block, for imports that would load an OpenGL backend."""
    before = os.environ.get(_VARIABLE)
    os.environ[_VARIABLE] = "disable"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_VARIABLE]
        else:
            os.environ[_VARIABLE] = before


def _wanted() -> str:
    """Return what `MUJOCO_GL` says, as mujoco reads it."""
    return os.environ.get(_VARIABLE, "").lower().strip()


def _loads(library: str) -> bool:
    """Tell whether the dynamic linker finds a library."""
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def _egl_has_display() -> bool:
    """Tell whether EGL can open a display on any device, as MuJoCo and dm_control will."""
    try:
        egl = ctypes.CDLL("libEGL.so.1")
    except OSError:
        return False
    egl.eglGetProcAddress.restype = ctypes.c_void_p
    egl.eglGetProcAddress.argtypes = [ctypes.c_char_p]
    egl.eglInitialize.argtypes = [ctypes.c_void_p] * 3
    query_address = egl.eglGetProcAddress(b"eglQueryDevicesEXT")
    display_address = egl.eglGetProcAddress(b"eglGetPlatformDisplayEXT")
    if not query_address or not display_address:
        return False
    pointer = ctypes.c_void_p
    query_devices = ctypes.CFUNCTYPE(ctypes.c_uint, ctypes.c_int, pointer, pointer)(query_address)
    open_display = ctypes.CFUNCTYPE(pointer, ctypes.c_uint, pointer, pointer)(display_address)
    devices, count = (pointer * 16)(), ctypes.c_int()
    query_devices(len(devices), devices, ctypes.byref(count))
    displays = (open_display(_EGL_PLATFORM_DEVICE_EXT, device, None) for device in devices[: count.value])
    return any(display and egl.eglInitialize(display, None, None) for display in displays)
