"""The loop that every world-model agent shares, on Stable-Baselines3's ``OffPolicyAlgorithm``."""

from __future__ import annotations

from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.noise import ActionNoise
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.preprocessing import get_action_dim
from stable_baselines3.common.type_aliases import (
    MaybeCallback,
    Schedule,
)
from stable_baselines3.common.vec_env import VecEnv

from dream_agents.agents.deciding import DecidingAgent
from dream_agents.agents.keywords import explaining_memory, require_env
from dream_agents.agents.learning_rate import make_schedule
from dream_agents.agents.observations import make_encoding
from dream_agents.agents.policy import WorldModelPolicy
from dream_agents.agents.scalar_range import RangeCheck
from dream_agents.agents.task import (
    TrainingTask,
    check_normalization,
    check_numbers,
    check_obs_type,
    discount_from_episode_length,
    implied_obs_type,
    make_action_noise,
    make_config,
)
from dream_agents.annex import keep_freed_memory
from dream_agents.learners.base import (
    Learner,
    get_backbone,
    plan_fields,
)
from dream_agents.planners import Memory, Plan, Planner
from dream_agents.replay import SequenceReplayBuffer
from dream_agents.wrappers import task_info
from dream_agents.wrappers.make import EnvLike

SelfWorldModelAgent = TypeVar("SelfWorldModelAgent", bound="WorldModelAgent")


class WorldModelAgent(DecidingAgent):
    """An agent that learns a world model and plans in it.

    Keywords that Stable-Baselines3's ``OffPolicyAlgorithm`` has keep their names and meanings. A step is a decision.

    ``action_space`` and ``observation_space`` are the environment's own: ``predict`` takes what it observes and returns
    actions in its units. World model and planner see vectors or images, and act in [-1, 1].

    :param env: an environment id (see ``dream-agents envs``), a ``gymnasium.Env``, a function that makes one, or a
        ``VecEnv``
    :param policy: Stable-Baselines3's policy class or its name
    :param backbone: world model and learner, a name in ``registry.backbones``
    :param planner: acts in ``predict``, a name in ``registry.planners`` or a planner
    :param planner_kwargs: the planner's options, where ``planner`` is a name
    :param training_planner: acts while learning; None for the same as ``planner``
    :param training_planner_kwargs: its options
    :param replanner: whose plans the policy imitates where the backbone plans replayed steps again (BMPC); None for the
        planner that acts while learning
    :param replanner_kwargs: its options
    :param model_size: a size of the backbone, e.g. "1M" or "5M"
    :param model_kwargs: further keyword arguments of the backbone's networks
    :param learner_kwargs: hyperparameters of the backbone's learner, e.g. ``{"autocast": "bfloat16"}``
    :param obs_type: "state" for numbers, "pixels" for the last frames, as many as the backbone has for an observation,
        or "pixels+state" for both by key, each with its own encoder. None is "pixels+state" where the environment
        observes images in a dictionary, "pixels" where it observes an image alone, else "state"
    :param env_kwargs: keyword arguments of the environment, where ``env`` is an id
    :param n_envs: environments side by side, where ``env`` is an id
    :param vec_env_cls: "dummy" or "subproc" (a process each), where ``env`` is an id
    :param learning_rate: learning rate, a schedule of the remaining progress (1 to 0), or e.g. "lin_1e-3" for a rate
        that falls linearly to 0
    :param buffer_size: slots of the replay buffer
    :param learning_starts: random decisions before learning; None for TD-MPC2's max(1000, 5 episodes)
    :param batch_size: sub-sequences an update
    :param tau: rate at which target values follow
    :param gamma: discount factor; None for TD-MPC2's heuristic from the episode's length
    :param optimize_memory_usage: changes nothing, since observations are stored once in any case
    :param train_freq: decisions of each environment between rounds of updates
    :param gradient_steps: updates a round; -1 for one a decision
    :param action_noise: added to the planner's action while learning, also to what the planner explores by itself: the
        standard deviation of Gaussian noise on actions of [-1, 1], or noise of Stable-Baselines3
    :param episodic: whether the task can end before its time limit; None asks the environment
    :param not_finite: what NaN or infinity from the environment does: "stop" raises an error that names it, "end" ends
        the episode before that step
    :raises ValueError: for options that don't fit together, and environments that can't be planned in
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        "WorldModelPolicy": WorldModelPolicy,
        "MlpPolicy": WorldModelPolicy,
        "CnnPolicy": WorldModelPolicy,
        "MultiInputPolicy": WorldModelPolicy,
    }
    policy: WorldModelPolicy
    #: name of the zoo's entry whose weights this agent began with
    base: str | None = None
    #: decisions and frames before those that ``num_timesteps`` counts, the base's included; None if nobody knows
    earlier_decisions: int | None = 0
    earlier_frames: int | None = 0
    _action_repeat: int = 1
    _frame_stack: int = 1

    def __init__(
        self,
        env: EnvLike | VecEnv | None,
        policy: str | type[BasePolicy] = "WorldModelPolicy",
        *,
        backbone: str = "tdmpc2",
        planner: str | Planner = "mppi",
        planner_kwargs: dict[str, Any] | None = None,
        training_planner: str | Planner | None = None,
        training_planner_kwargs: dict[str, Any] | None = None,
        replanner: str | Planner | None = None,
        replanner_kwargs: dict[str, Any] | None = None,
        model_size: Any = "5M",
        model_kwargs: dict[str, Any] | None = None,
        learner_kwargs: dict[str, Any] | None = None,
        obs_type: str | None = None,
        env_kwargs: dict[str, Any] | None = None,
        n_envs: int = 1,
        vec_env_cls: str = "dummy",
        learning_rate: float | str | Schedule = 3e-4,
        buffer_size: int = 1_000_000,
        learning_starts: int | None = None,
        batch_size: int = 256,
        tau: float = 0.01,
        gamma: float | None = None,
        train_freq: int | tuple[int, str] = 1,
        gradient_steps: int = -1,
        action_noise: ActionNoise | float | None = None,
        replay_buffer_class: type[ReplayBuffer] | None = None,
        replay_buffer_kwargs: dict[str, Any] | None = None,
        optimize_memory_usage: bool = False,
        n_steps: int = 1,
        policy_kwargs: dict[str, Any] | None = None,
        stats_window_size: int = 100,
        tensorboard_log: str | None = None,
        verbose: int = 0,
        device: torch.device | str = "auto",
        monitor_wrapper: bool = True,
        seed: int | None = None,
        episodic: bool | None = None,
        not_finite: str = "stop",
        _init_setup_model: bool = True,
    ):
        if isinstance(env, str) and env in self.policy_aliases:
            is_given = policy != "WorldModelPolicy"
            env, policy = policy if is_given else None, env  # type: ignore[assignment]  # Stable-Baselines3's order
        if _init_setup_model:
            require_env(type(self), env)
        learning_rate = make_schedule(learning_rate)
        check_numbers(
            n_steps=n_steps,
            batch_size=batch_size,
            learning_rate=learning_rate,
            train_freq=train_freq,
            learning_starts=learning_starts,
            tau=tau,
            gamma=gamma,
            buffer_size=buffer_size,
            seed=seed,
        )
        obs_type = implied_obs_type(policy, env, obs_type)
        self.task = self._make_task(env, backbone, obs_type, env_kwargs, n_envs, vec_env_cls, not_finite)
        if env is not None:
            env = self.task.make(env, monitor_wrapper)
            self.task = self.task.told_by(env)
            action_noise = make_action_noise(action_noise, env.action_space)
        if isinstance(policy, str):  # Stable-Baselines3 has other names for images and dictionaries
            policy = self.policy_aliases.get(policy, policy)
        super().__init__(
            policy,
            env,  # type: ignore[arg-type]
            learning_rate,
            buffer_size=buffer_size,
            learning_starts=learning_starts,  # type: ignore[arg-type]
            batch_size=batch_size,
            tau=tau,
            gamma=gamma,  # type: ignore[arg-type]
            train_freq=train_freq,
            gradient_steps=gradient_steps,
            action_noise=action_noise,  # type: ignore[arg-type]
            replay_buffer_class=self._replay_class(replay_buffer_class, backbone),
            replay_buffer_kwargs=replay_buffer_kwargs,
            policy_kwargs=policy_kwargs,
            stats_window_size=stats_window_size,
            tensorboard_log=tensorboard_log,
            verbose=verbose,
            device=device,
            support_multi_env=True,
            monitor_wrapper=monitor_wrapper,
            seed=None if seed is None else int(seed),
            sde_support=False,
            supported_action_spaces=(spaces.Box,),
        )
        self.backbone_name, self.model_size = backbone, model_size
        self.obs_type = self.task.obs_type or "state"
        self.model_kwargs, self.episodic = {**self.backbone.model_defaults, **(model_kwargs or {})}, episodic
        self.learner_config = make_config(self.backbone.config_class, learner_kwargs or {})
        self._planner = self.make_planner(planner, **(planner_kwargs or {}))
        if training_planner is None:
            training_planner = self.default_training_planner(backbone, planner)
        self._training_planner = self._make_training_planner(training_planner, training_planner_kwargs)
        self._replanner = self._make_replanner(replanner, replanner_kwargs)
        if _init_setup_model:
            self._setup_model()

    # ---------------------------------------------------------------- set-up

    @staticmethod
    def _make_task(
        env: EnvLike | VecEnv | None,
        backbone: str,
        obs_type: str | None,
        env_kwargs: dict[str, Any] | None,
        n_envs: int,
        vec_env_cls: str,
        not_finite: str,
    ) -> TrainingTask:
        """How environments are made for a backbone, which may see vectors only."""
        kind = get_backbone(backbone)
        if obs_type is None and not kind.encodes_by_key:
            obs_type = "state"
        return TrainingTask(
            env if isinstance(env, str) else None,
            obs_type,
            env_kwargs or {},
            n_envs,
            vec_env_cls,
            not_finite=not_finite,
            frame_stack=kind.frame_stack,
        )

    @staticmethod
    def _replay_class(given: type[ReplayBuffer] | None, backbone: str) -> type[SequenceReplayBuffer]:
        """The replay buffer that is given, or else the backbone's."""
        chosen = given or get_backbone(backbone).replay_buffer_class
        if not issubclass(chosen, SequenceReplayBuffer):
            raise ValueError(f"replay_buffer_class={chosen} must be a SequenceReplayBuffer")
        return chosen

    @staticmethod
    def default_training_planner(backbone: str, planner: str | Planner) -> str | None:
        """Name of the planner that acts while learning unless another is given; None for that of ``predict``.

        :param backbone: name of the backbone
        """
        return None

    def _setup_model(self) -> None:
        self._adopt_spaces()
        check_obs_type(self.obs_type, self.observation_space)
        if self.obs_type == "pixels+state" and not self.backbone.encodes_by_key:
            raise ValueError(
                f'the backbone "{self.backbone_name}" encodes a vector or an image, not both; pass obs_type="state", '
                "which makes one vector of them"
            )
        encoding = make_encoding(self.observation_space, self.native_observation_space, self.obs_type)
        if self.env is not None:
            check_normalization(self.env, encoding.shape)
            self._read_task(self.env)
        self._stores_plans = self.backbone.imitates_planner
        self.replay_buffer_kwargs = self.replay_buffer_kwargs | {
            "sequence_length": self.backbone.sequence_length(self.learner_config),
            "frame_stack": self._frame_stack,
            **encoding.replay_options,
            "short_episodes": self.backbone.takes_short_episodes,
            "seed": self.seed,
        }
        if self._stores_plans:
            self.replay_buffer_kwargs["extra_fields"] = plan_fields(get_action_dim(self.action_space))
        user_kwargs = self.policy_kwargs
        model_kwargs = {
            "model_size": self.model_size,
            "discount": self.gamma,
            "episodic": bool(self.episodic),
            **self.model_kwargs,
        }
        self.policy_kwargs = user_kwargs | {
            "backbone": self.backbone,
            "model_kwargs": model_kwargs,
            "planner": self._planner,
            "seed": self.seed or 0,
            "native_observation_space": self.native_observation_space,
            "obs_type": self.obs_type,
        }
        with explaining_memory(self.buffer_size):
            if self.replay_buffer is None:
                self.replay_buffer = self.replay_buffer_class(  # type: ignore[misc,assignment]
                    self.buffer_size,
                    encoding.space,
                    self.action_space,
                    device=self.device,
                    n_envs=self.n_envs,
                    optimize_memory_usage=self.optimize_memory_usage,
                    **self.replay_buffer_kwargs,
                )
            super()._setup_model()
        self.policy_kwargs = user_kwargs
        self.generators = {name: torch.Generator(self.device) for name in ("learner", "planner")}
        for generator in self.generators.values():
            generator.seed()
        self._seed_own(self.seed)
        self._learner: Learner | None = None
        self._updates = None
        self._plan_memory: Memory | None = None
        self._plan_owner: Planner | None = None
        self._last_plan: Plan | None = None
        self._replay_ready = False
        self._ranges = RangeCheck(self.n_envs)

    def set_random_seed(self, seed: int | None = None) -> None:
        """Seed everything that draws random numbers: Stable-Baselines3's, planner, learner and replay."""
        seed = None if seed is None else int(seed)
        super().set_random_seed(seed)
        if hasattr(self, "generators"):  # otherwise this is the beginning of the set-up
            self._seed_own(seed)

    def _seed_own(self, seed: int | None) -> None:
        if seed is None:
            return
        for offset, generator in enumerate(self.generators.values()):
            generator.manual_seed(seed + offset)
        self.policy.seed = seed
        if self.replay_buffer is not None:
            self.replay_buffer.rng = np.random.default_rng(seed)

    def _read_task(self, env: VecEnv) -> None:
        """Fill in what depends on the task where the user left it open."""
        info = task_info(env)
        self._action_repeat, self._frame_stack = info.action_repeat, info.frame_stack
        length = info.max_episode_steps
        if self.episodic is None:
            self.episodic = info.episodic
        if self.gamma is None:
            self.gamma = discount_from_episode_length(length)
        if self.learning_starts is None:
            self.learning_starts = max(1000, 5 * (length or 0))

    @property
    def learner(self) -> Learner:
        """What learns the model; made when first used, since optimizers take longer to import than all the rest."""
        if self._learner is None:
            self._learner = self.backbone.build_learner(
                self.world_model,
                self.learner_config,
                self.lr_schedule(1.0),
                self.tau,
                self.generators["learner"],
            )
        return self._learner

    @property
    def total_decisions(self) -> int | None:
        """Decisions that the weights were trained for in all, also before a reset and in the base; None if unknown."""
        return None if self.earlier_decisions is None else self.earlier_decisions + self.num_timesteps

    @property
    def total_frames(self) -> int | None:
        """:attr:`total_decisions` in frames of the simulator."""
        return None if self.earlier_frames is None else self.earlier_frames + self.env_frames

    # -------------------------------------------------------------- learning

    def _setup_learn(
        self,
        total_timesteps: int,
        callback: MaybeCallback = None,
        reset_num_timesteps: bool = True,
        tb_log_name: str = "run",
        progress_bar: bool = False,
    ) -> Any:
        if reset_num_timesteps:
            self.earlier_decisions, self.earlier_frames = self.total_decisions, self.total_frames
        return super()._setup_learn(total_timesteps, callback, reset_num_timesteps, tb_log_name, progress_bar)

    def learn(
        self: SelfWorldModelAgent,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int = 4,
        tb_log_name: str | None = None,
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> SelfWorldModelAgent:
        """Learn for ``total_timesteps`` decisions, as Stable-Baselines3's ``learn``."""
        if self.device.type == "cpu":
            keep_freed_memory()
        return super().learn(
            total_timesteps, callback, log_interval, tb_log_name, reset_num_timesteps, progress_bar
        )
