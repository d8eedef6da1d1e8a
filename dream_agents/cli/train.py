"""``dream-agents train``."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dream_agents.cli.console import say
from dream_agents.runs.final import save_final
from dream_agents.runs.settings import resume_command

if TYPE_CHECKING:
    from dream_agents.agents.base import WorldModelAgent
    from dream_agents.agents.sac import SAC
    from dream_agents.runs import RunSettings

Env = Annotated[
    str | None, typer.Argument(metavar="[ENV]", help="Environment's id; not needed with --resume.")
]
Agent = Annotated[str | None, typer.Option(help="An agent of `dream-agents agents`. Default: dream_mpc.")]
Decisions = Annotated[int | None, typer.Option(help="Decisions in all. Default: 500000.")]
Frames = Annotated[int | None, typer.Option(help="Frames in all: decisions times the action repeat.")]
ModelSize = Annotated[str | None, typer.Option(help="Size of the networks, e.g. 1M or 5M.")]
Seed = Annotated[int | None, typer.Option(help="Seed of everything. Default: 0.")]
Planner = Annotated[str | None, typer.Option(help="Planner to act with. Default: the agent's.")]
NEnvs = Annotated[int | None, typer.Option(help="Environments side by side. Default: 1.")]
Device = Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:1, ... Default: auto.")]
Out = Annotated[Path | None, typer.Option(help="Folder of the run. Default: runs/AGENT-ENV-SEED.")]
EvalEvery = Annotated[int | None, typer.Option(help="Decisions between evaluations. Default: 0, none.")]
EvalEpisodes = Annotated[int | None, typer.Option(help="Episodes of an evaluation. Default: 10.")]
CheckpointEvery = Annotated[
    int | None, typer.Option(help="Decisions between checkpoints; 0 for none. Default: 25000.")
]
KeepCheckpoints = Annotated[
    int | None,
    typer.Option(help="Newest checkpoints that are kept, each with its replay buffer. Default: 2."),
]
Resume = Annotated[
    bool,
    typer.Option("--resume", help="Continue the run in the folder, one of yours: checkpoints hold pickles."),
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="Any option of the agent or its parts, e.g. horizon=5, planner_kwargs.samples=128.",
    ),
]


def train(
    env: Env = None,
    agent: Agent = None,
    decisions: Decisions = None,
    frames: Frames = None,
    model_size: ModelSize = None,
    seed: Seed = None,
    planner: Planner = None,
    n_envs: NEnvs = None,
    device: Device = None,
    out: Out = None,
    eval_every: EvalEvery = None,
    eval_episodes: EvalEpisodes = None,
    checkpoint_every: CheckpointEvery = None,
    keep_checkpoints: KeepCheckpoints = None,
    resume: Resume = False,
    set: Set = None,
) -> None:
    """Learn a world model and write everything about the run to a folder.

    The folder holds the settings, TensorBoard's events, checkpoints, a table of episodes, a table of evaluations,
    the final model and a picture of the learning curve.
    """
    named = {
        "env": env,
        "agent": agent,
        "decisions": decisions,
        "model_size": model_size,
        "seed": seed,
        "planner": planner,
        "n_envs": n_envs,
        "device": device,
        "eval_every": eval_every,
        "eval_episodes": eval_episodes,
        "checkpoint_every": checkpoint_every,
        "keep_checkpoints": keep_checkpoints,
        "options": tuple(set) if set else None,
    }
    given = {name: value for name, value in named.items() if value is not None}
    settings, folder, resume = _settle(given, frames, out, resume)
    _run(settings, folder, resume)


def _settle(
    given: dict[str, Any], frames: int | None, out: Path | None, resume: bool
) -> tuple[RunSettings, Path, bool]:
    """Fill in what is not given; return settings, folder and whether there is a checkpoint to go on from."""
    from dream_agents.agents.checkpoint import find_checkpoints
    from dream_agents.runs import ARGS, CHECKPOINTS, FINAL, RunSettings
    from dream_agents.runs.settings import settings_to_resume
    from dream_agents.wrappers import describe

    if "env" in given:
        given["env"] = _full_id(given["env"])
    elif out is None or not resume:
        raise ValueError("give an environment (`dream-agents envs` lists them), or --resume --out FOLDER")
    folder = out or RunSettings(**given).default_folder()
    has_run = (folder / ARGS).exists()
    if has_run and not resume:
        raise ValueError(
            f"there is a run in {folder} already; continue it with `{resume_command(folder)}`, or choose another --out"
        )
    if frames is not None:
        if "decisions" in given:
            raise ValueError("give --decisions or --frames, not both")
        env = given["env"] if "env" in given else settings_to_resume(folder, given).env
        given["decisions"] = frames // describe(env).action_repeat
    settings = settings_to_resume(folder, given) if resume else RunSettings(**given)
    goes_on = resume and bool(find_checkpoints(folder / CHECKPOINTS))
    if resume and not goes_on and not (folder / FINAL).exists():
        say(f"the run in {folder} stopped before its first checkpoint; it starts over")
    return settings, folder, goes_on


def _full_id(name: str) -> str:
    """An environment's id behind the module that registers it, which other processes have to import, too."""
    from dream_agents.wrappers import resolve

    module, colon, _ = name.rpartition(":")
    return f"{module}{colon}{resolve(name)[1]}"


def _run(settings: RunSettings, folder: Path, resume: bool) -> None:
    """Make the run, or go on with it, as the only writer of its folder."""
    from dream_agents.cli.resuming import check_same_run, is_finished
    from dream_agents.files import only_writer
    from dream_agents.runs import ARGS, CHECKPOINTS, FINAL, write_settings

    with ExitStack() as stack:
        was_there, had_run = folder.exists(), (folder / ARGS).exists()
        if was_there:  # mistakes leave no new folder
            stack.enter_context(only_writer(folder))
        if had_run and is_finished(folder, settings):
            say(f"the run is finished: {folder / FINAL} has its decisions; more --decisions make it longer")
            return
        model = _make_agent(settings, folder / CHECKPOINTS if resume else None)
        if resume:
            check_same_run(folder, settings, model)
            say(f"going on from decision {model.num_timesteps}")
        if not was_there:
            stack.enter_context(only_writer(folder))
        if not had_run and (folder / ARGS).exists():
            raise ValueError(f"another process has just started a run in {folder}; choose another --out")
        write_settings(folder, settings, _keywords(settings))
        try:
            _learn(model, settings, folder, resume)
        except ChildProcessError as error:
            command = resume_command(folder)
            raise ChildProcessError(f"{error}; continue from the last checkpoint with `{command}`") from error
        finally:
            assert model.env is not None
            model.env.close()


def _learn(model: WorldModelAgent | SAC, settings: RunSettings, folder: Path, resume: bool) -> None:
    """Learn up to the end, and write down what there is then, or when the user stops it."""
    from stable_baselines3.common.callbacks import BaseCallback, CallbackList
    from stable_baselines3.common.logger import configure

    from dream_agents.agents.checkpoint import CheckpointCallback
    from dream_agents.cli.display import ShowTraining, TrainingDisplay
    from dream_agents.cli.stopping import StopOnRequest, TrainingStoppedError, stopping_in_order
    from dream_agents.evaluation.training_log import TrainingLog
    from dream_agents.runs import CHECKPOINTS, TENSORBOARD

    done = model.num_timesteps
    left = max(0, settings.decisions - done)
    model.set_logger(configure(str(folder / TENSORBOARD), ["tensorboard"]))
    with TrainingDisplay(settings.decisions, done) as display:
        shown, stop = ShowTraining(display), StopOnRequest()
        log = TrainingLog(folder, settings, done, evaluating=lambda: shown.show("evaluating"))
        display.returns.extend(float(row["return"]) for row in log.episodes.kept)
        callbacks: list[BaseCallback] = [log, shown, stop]
        checkpoints = None
        if settings.checkpoint_every:
            every, keep = settings.checkpoint_every, settings.keep_checkpoints
            checkpoints = CheckpointCallback(folder / CHECKPOINTS, every, keep)
            callbacks.append(checkpoints)
        try:
            with stopping_in_order(stop):
                model.learn(left, CallbackList(callbacks), log_interval=1, reset_num_timesteps=not resume)
            unwritten = checkpoints is not None and checkpoints.written_at != model.num_timesteps
            _finish(model, settings, folder, with_checkpoint=left > 0 and unwritten)
        except TrainingStoppedError:
            _write_checkpoint(model, folder / CHECKPOINTS, settings.keep_checkpoints)
            say(f"stopped at decision {model.num_timesteps}; continue with `{resume_command(folder)}`")
            raise typer.Exit(130) from None
        except KeyboardInterrupt:
            say(f"stopped at once; continue from the last checkpoint with `{resume_command(folder)}`")
            raise typer.Exit(130) from None
        finally:
            log.close()
            model.logger.close()


def _write_checkpoint(model: WorldModelAgent | SAC, checkpoints: Path, keep: int) -> None:
    """Write a checkpoint before the run stops, or say why there is none."""
    try:
        say(f"checkpoint: {model.save_checkpoint(checkpoints, keep)}")
    except OSError as error:
        say(
            f"no checkpoint could be written to {checkpoints} ({error}); older ones are still there",
            style="red",
        )


def _make_agent(settings: RunSettings, checkpoints: Path | None) -> WorldModelAgent | SAC:
    """Make the agent, or load its newest good checkpoint.

    :raises ValueError: for options that the agent does not have or take
    """
    from dream_agents.cli.options import check_device, naming_unchecked_options
    from dream_agents.registry import agents

    check_device(settings.device)
    agent: type[WorldModelAgent | SAC] = agents.get(settings.agent)
    if checkpoints is not None:
        return agent.load_checkpoint(checkpoints, device=settings.device)
    keywords = _keywords(settings)
    with naming_unchecked_options(settings.options):
        return agent(
            settings.env, seed=settings.seed, n_envs=settings.n_envs, device=settings.device, **keywords
        )


def _keywords(settings: RunSettings) -> dict[str, Any]:
    """Turn settings into the agent's keyword arguments, without those that every agent has.

    :raises ValueError: for options that the agent does not have or take
    """
    from dream_agents.cli.options import agent_keywords
    from dream_agents.cli.signatures import check_names, keywords_of
    from dream_agents.registry import agents

    agent: type[WorldModelAgent | SAC] = agents.get(settings.agent)
    keywords = agent_keywords(settings.agent, settings.options, settings.planner)
    for name in ("model_size", "planner"):
        value = getattr(settings, name)
        if value is not None:
            if name not in keywords_of(agent) and "planner" not in keywords_of(agent):
                option = f"--{name.replace('_', '-')} {value}"
                raise ValueError(f'{option}: the agent "{settings.agent}" has no world model; leave it out')
            check_names(f'the agent "{settings.agent}"', [name], keywords_of(agent))
            keywords[name] = value
    return keywords


def _finish(model: WorldModelAgent | SAC, settings: RunSettings, folder: Path, with_checkpoint: bool) -> None:
    """Write the last checkpoint, so that the run can be made longer, the model and its curve; say what is where.

    What can't be written, on a full disk for instance, keeps nothing else from being written.

    :raises OSError: at the end, naming what could not be written
    """
    from dream_agents.evaluation import plot_learning_curve
    from dream_agents.runs import CHECKPOINTS, CURVE, FINAL

    missing = []

    @contextmanager
    def attempt(path: Path) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            missing.append(f"{path} ({error})")

    if with_checkpoint:
        with attempt(folder / CHECKPOINTS):
            model.save_checkpoint(folder / CHECKPOINTS, settings.keep_checkpoints)
    with attempt(folder / FINAL):
        save_final(model, folder)
        say(f"{model.num_timesteps} decisions ({model.env_frames} frames); the model is in {folder / FINAL}")
    with attempt(folder / CURVE):
        try:
            plot_learning_curve({folder.name: folder}, folder / CURVE, settings.env)
            say(f"learning curve: {folder / CURVE}")
        except ValueError:
            say("no episode came to its end, so there is no learning curve")
    if missing:
        raise OSError(
            f"could not be written: {'; '.join(missing)}. Make room, then go on from the last checkpoint with "
            f"`{resume_command(folder)}`"
        )
    say(f"evaluate it with `{shlex.join(['dream-agents', 'eval', str(folder)])}`")
