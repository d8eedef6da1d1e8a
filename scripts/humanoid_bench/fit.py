"""Fit a few primitives to the convex hull of a mesh, which is what MuJoCo collides.

Two errors are made small together, both in metres: the distance of points spread over the hull's surface to the
surface of the primitives' union, and the difference of how far hull and union reach in each direction (the
support function: where they touch a plane).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from scipy.spatial import ConvexHull
from torch import Tensor

STARTS = 8
STEPS = 500
POINTS = 1500
DIRECTIONS = 1200
PROTRUSION = 4.0
"""How much worse it is to stick out of the hull than to fall short: a contact that should not be there disturbs
motions that the original leaves alone, such as that of an arm close to the torso."""
DIGITS = 4  # tenths of a millimetre

RECIPES = {
    "pelvis": "ttb",
    "torso_link": "mmmb",
    "hip_roll_link": "cc",
    "hip_pitch_link": "ccc",
    "knee_link": "cc",
    "ankle_link": "b",
    "shoulder_pitch_link": "cc",
    "shoulder_roll_link": "ccc",
    "shoulder_yaw_link": "cc",
    "elbow_link": "cc",
    "f_distal_pst": "c",
    "th_distal_pst": "c",
}
"""Primitives of each mesh: c capsule, y cylinder, t capsule along y centred on y = 0, m two capsules mirrored in y = 0,
b box around a plane of symmetry y = 0."""

SOLE = {"type": "box", "pos": [0.05, 0.0, -0.055], "size": [0.1485, 0.015, 0.015]}
"""The foot's lower part. The sole is measured by hand: flat, with edges rounded off by a millimetre; an agent
feels each millimetre of it. Its sides are higher than the hull's towards heel and toe: what a flat box digs into
by 2 cm, such as the chair behind the heels at reset, would push it up instead of back."""


class Capsule:
    """A capsule between two points."""

    def __init__(self, vertices: np.ndarray, rng: np.random.Generator) -> None:
        centre = vertices.mean(0)
        ends = centre + 0.6 * (vertices[rng.choice(len(vertices), 2)] - centre)
        radius = 0.7 * np.abs(vertices - centre).max(0).min()
        self.parameters = [torch.tensor(end) for end in ends] + [torch.tensor(np.log(radius))]

    def ends(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return both ends of the axis, [3] each, and the radius."""
        start, end, log_radius = self.parameters
        return start, end, log_radius.exp()

    def distance(self, points: Tensor) -> Tensor:
        """Return the signed distance of points [n, 3] to the surface, [n]."""
        start, end, radius = self.ends()
        axis = end - start
        along = ((points - start) @ axis / (axis @ axis + 1e-12)).clamp(0, 1)
        return (points - start - along[:, None] * axis).norm(dim=1) - radius

    def reach(self, directions: Tensor) -> Tensor:
        """Return the support function in unit directions [n, 3], [n]."""
        start, end, radius = self.ends()
        return torch.maximum(directions @ start, directions @ end) + radius

    def shapes(self) -> list[dict[str, Any]]:
        """Return what the table says of it."""
        start, end, radius = self.ends()
        return [
            {"type": "capsule", "fromto": _rounded(torch.cat([start, end])), "size": _rounded(radius[None])}
        ]


class Cylinder(Capsule):
    """A cylinder between two points."""

    def distance(self, points: Tensor) -> Tensor:
        """Return the signed distance of points [n, 3] to the surface, [n]."""
        start, end, radius = self.ends()
        axis, offsets = end - start, points - (start + end) / 2
        length = axis.norm()
        along = offsets @ axis / length
        across = (offsets - along[:, None] * axis / length).norm(dim=1)
        return _outside(torch.stack([across - radius, along.abs() - length / 2], dim=1))

    def reach(self, directions: Tensor) -> Tensor:
        """Return the support function in unit directions [n, 3], [n]."""
        start, end, radius = self.ends()
        axis = (end - start) / (end - start).norm()
        rim = (1 - (directions @ axis).square()).clamp(min=1e-12).sqrt() * radius
        return torch.maximum(directions @ start, directions @ end) + rim

    def shapes(self) -> list[dict[str, Any]]:
        """Return what the table says of it."""
        return [{**shape, "type": "cylinder"} for shape in super().shapes()]


class TransverseCapsule(Capsule):
    """A capsule along y, centred on y = 0."""

    def __init__(self, vertices: np.ndarray, rng: np.random.Generator) -> None:
        middle = vertices.mean(0) + 0.25 * rng.uniform(-1, 1, 3) * np.ptp(vertices, axis=0)
        half_length, radius = 0.3 * np.ptp(vertices[:, 1]), 0.3 * np.ptp(vertices[:, 2])
        self.parameters = [torch.tensor(middle[[0, 2]])]
        self.parameters += [torch.tensor(np.log(number)) for number in (half_length, radius)]

    def ends(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return both ends of the axis, [3] each, and the radius."""
        (x, z), log_half_length, log_radius = self.parameters
        y = log_half_length.exp()
        return torch.stack([x, -y, z]), torch.stack([x, y, z]), log_radius.exp()


class MirroredCapsules(Capsule):
    """Two capsules that mirror each other in the plane y = 0."""

    def __init__(self, vertices: np.ndarray, rng: np.random.Generator) -> None:
        super().__init__(vertices[vertices[:, 1] > 0], rng)
        self.flip = torch.tensor([1.0, -1.0, 1.0])

    def distance(self, points: Tensor) -> Tensor:
        """Return the signed distance of points [n, 3] to the surface, [n]."""
        return torch.minimum(super().distance(points), super().distance(points * self.flip))

    def reach(self, directions: Tensor) -> Tensor:
        """Return the support function in unit directions [n, 3], [n]."""
        return torch.maximum(super().reach(directions), super().reach(directions * self.flip))

    def shapes(self) -> list[dict[str, Any]]:
        """Return what the table says of both."""
        left = super().shapes()
        return left + [mirrored(shape) for shape in left]


class Box:
    """A box with its faces along the axes, centred on y = 0."""

    def __init__(self, vertices: np.ndarray, rng: np.random.Generator) -> None:
        extent = np.ptp(vertices, axis=0)
        middle = vertices.mean(0) + 0.25 * rng.uniform(-1, 1, 3) * extent
        self.parameters = [torch.tensor(middle), torch.tensor(np.log(extent * rng.uniform(0.2, 0.4, 3)))]

    def middle_and_half(self) -> tuple[Tensor, Tensor]:
        """Return the centre and half the extent, [3] each."""
        middle, log_half = self.parameters
        return middle * torch.tensor([1.0, 0.0, 1.0]), log_half.exp()

    def distance(self, points: Tensor) -> Tensor:
        """Return the signed distance of points [n, 3] to the surface, [n]."""
        middle, half = self.middle_and_half()
        return _outside((points - middle).abs() - half)

    def reach(self, directions: Tensor) -> Tensor:
        """Return the support function in unit directions [n, 3], [n]."""
        middle, half = self.middle_and_half()
        return directions @ middle + directions.abs() @ half

    def shapes(self) -> list[dict[str, Any]]:
        """Return what the table says of it."""
        middle, half = self.middle_and_half()
        return [{"type": "box", "pos": _rounded(middle), "size": _rounded(half)}]


class Sole(Box):
    """The fixed box `SOLE`."""

    def __init__(self) -> None:
        self.parameters = []

    def middle_and_half(self) -> tuple[Tensor, Tensor]:
        """Return the centre and half the extent, [3] each."""
        return torch.tensor(SOLE["pos"]), torch.tensor(SOLE["size"])


_FITTED: dict[str, list[dict[str, Any]]] = {}

KINDS = {"c": Capsule, "y": Cylinder, "t": TransverseCapsule, "m": MirroredCapsules, "b": Box}


def fit_link(mesh: str, vertices: np.ndarray) -> list[dict[str, Any]]:
    """Return the primitives for a mesh.

    The robot's right links mirror its left ones, so that only those are fitted; and each finger's tip is the
    same mesh.

    :param mesh: its name in the public model: ``"left_knee_link"``
    :param vertices: of its hull, in the frame of its body, [n, 3]
    """
    side, _, link = mesh.partition("_")
    if side not in ("left", "right"):
        side, link = "", mesh
    right = side == "right" and link.endswith("_link")
    if link not in _FITTED:
        _FITTED[link] = _best(link, vertices * [1, -1, 1] if right else vertices)
    return [mirrored(shape) for shape in _FITTED[link]] if right else _FITTED[link]


def mirrored(shape: dict[str, Any]) -> dict[str, Any]:
    """Return a primitive mirrored in the plane y = 0."""
    signs = {"pos": [1, -1, 1], "fromto": [1, -1, 1, 1, -1, 1]}
    return {
        k: [s * n for s, n in zip(signs[k], v, strict=True)] if k in signs else v for k, v in shape.items()
    }


def _best(link: str, vertices: np.ndarray) -> list[dict[str, Any]]:
    """Return the best fit of several starts."""
    torch.set_default_dtype(torch.float64)
    fits = [_fit(link, vertices, np.random.default_rng(seed)) for seed in range(STARTS)]
    _, errors, primitives = min(fits, key=lambda fit: fit[0])
    print(f"{link:20s} surface {1e3 * errors[0]:.1f} mm, support {1e3 * errors[1]:.1f} mm (RMS)")
    return [shape for primitive in primitives for shape in primitive.shapes()]


def _fit(link: str, vertices: np.ndarray, rng: np.random.Generator) -> tuple[float, list[float], list[Any]]:
    """Return the loss, both errors (RMS, in metres) and the primitives, from one random start."""
    points = torch.tensor(_spread_over(vertices, rng))
    directions = rng.normal(size=(DIRECTIONS, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    hull_reach = torch.tensor((directions @ vertices.T).max(1))
    directions = torch.tensor(directions)
    primitives: list[Any] = [KINDS[kind](vertices, rng) for kind in RECIPES[link]]
    parameters = [p.requires_grad_() for primitive in primitives for p in primitive.parameters]
    if link == "ankle_link":
        primitives.append(Sole())
    optimizer = torch.optim.Adam(parameters, lr=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    for _ in range(STEPS):
        distance = torch.stack([primitive.distance(points) for primitive in primitives]).amin(0)
        reach = torch.stack([primitive.reach(directions) for primitive in primitives]).amax(0) - hull_reach
        loss = _weigh(-distance) + _weigh(reach)
        optimizer.zero_grad()
        (1e6 * loss).backward()
        optimizer.step()
        schedule.step()
    errors = torch.stack([distance.square().mean().sqrt(), reach.square().mean().sqrt()])
    return loss.item(), errors.tolist(), primitives


def _weigh(protrusion: Tensor) -> Tensor:
    """Return the mean square of how far the primitives stick out, [n], where that counts more than too little."""
    return torch.where(protrusion > 0, PROTRUSION, 1.0).mul(protrusion.square()).mean()


def _spread_over(vertices: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return points spread evenly over the surface of a convex hull, [POINTS, 3]."""
    hull = ConvexHull(vertices)
    triangles = vertices[hull.simplices]
    a, b = triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]
    areas = np.linalg.norm(np.cross(a, b), axis=1)
    chosen = rng.choice(len(triangles), POINTS, p=areas / areas.sum())
    u, v = rng.random((2, POINTS, 1))
    outside = u + v > 1
    u, v = np.where(outside, 1 - u, u), np.where(outside, 1 - v, v)
    return triangles[chosen, 0] + u * a[chosen] + v * b[chosen]


def _outside(beyond: Tensor) -> Tensor:
    """Return the signed distance, [n], to a shape that is exceeded by `beyond` in independent directions, [n, k]."""
    return beyond.amax(1).clamp(max=0) + (beyond.clamp(min=0).square().sum(1) + 1e-12).sqrt()


def _rounded(numbers: Tensor) -> list[float]:
    """Return numbers with `DIGITS` digits."""
    return [round(number, DIGITS) + 0.0 for number in numbers.tolist()]
