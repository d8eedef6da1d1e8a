"""``dream-agents export``: a policy or a planner as one file."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import typer

from dream_agents.cli.console import notes, say

Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="An entry of the zoo, or what `eval` takes: a run's folder, a .zip, a checkpoint.",
    ),
]
Target = Annotated[
    Path,
    typer.Argument(metavar="OUT", help="The file, with or without its ending; its folder is made."),
]
PlannerName = Annotated[
    str | None, typer.Option("--planner", help="What decides: policy, dream, ... Default: the model's.")
]
Format = Annotated[
    str, typer.Option("--format", help='"onnx" for ONNX Runtime, "pt2" compiled by PyTorch for this machine.')
]
NEnvs = Annotated[int, typer.Option(min=1, help="Environments a decision.")]
Env = Annotated[str | None, typer.Option(help="Environment's id, where the model does not say it.")]
Options = Annotated[
    list[str] | None,
    typer.Option("--set", help="An option of the planner: horizon=5. May be given again."),
]
Stochastic = Annotated[bool, typer.Option("--stochastic", help="Keep the exploration noise.")]
Observations = Annotated[int, typer.Option(min=1, help="Of real episodes, to compare with predict on.")]


def export(
    model: Model,
    out: Target,
    planner: PlannerName = None,
    format: Format = "onnx",
    n_envs: NEnvs = 1,
    env: Env = None,
    set: Options = None,
    stochastic: Stochastic = False,
    observations: Observations = 100,
) -> None:
    """Write what a model decides as one file, for dream_agents.deploy.Controller or a program of yours.

    The file is compared with predict in real episodes before it is kept; controller.json next to it says how to use it.
    """
    from dream_agents.export.writing import target
    from dream_agents.runs import load_model

    target(out, format)  # before anything is loaded
    loaded = load_model(model, env=env, device="cpu", notice=say)
    with notes.status("exporting"):
        found = loaded.export(
            out,
            format,
            planner=_planner(loaded, planner, set or []),
            n_envs=n_envs,
            deterministic=not stochastic,
            env=env,
            observations=observations,
            card=_card(model),
        )
    typer.echo(f"{found.path}")
    say(
        f"{found.observations} decisions of real episodes differ from predict by up to {found.largest_difference:.1e} "
        f"of half an action's range; {found.description} says how the file is used"
    )
    if found.above_tolerance:
        say(
            f"{found.above_tolerance} of them differ by more than 1e-4, where predict itself moves by half of that "
            "when observation and weights change by a hundred-thousandth"
        )


def _planner(model: Any, name: str | None, assignments: list[str]) -> Any:
    from dream_agents.cli.options import planner_options

    if not assignments:
        return name
    if name is None:
        raise ValueError("--set changes options of a planner; name it with --planner")
    return model.make_planner(name, **planner_options(assignments, [name])[name])


def _card(model: str) -> dict[str, Any] | None:
    """The card of an entry of the zoo; None for models that have none."""
    from dream_agents.runs import is_entry
    from dream_agents.zoo.catalog import find

    return dataclasses.asdict(find(model).card) if is_entry(model) else None
