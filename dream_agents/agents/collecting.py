"""How steps get from environments into replay: each as it happened, and none that did not."""

from __future__ import annotations

import time
import warnings
from contextlib import ExitStack
from typing import Any, TypeVar

import numpy as np
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.callbacks import BaseCallback, CallbackList, ProgressBarCallback
from stable_baselines3.common.noise import ActionNoise, VectorizedActionNoise
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.type_aliases import MaybeCallback, RolloutReturn, TrainFreq, TrainFrequencyUnit
from stable_baselines3.common.vec_env import VecEnv

from dream_agents.agents.interrupts import stops_at_rollout_start
from dream_agents.agents.pace import Pace
from dream_agents.replay import SequenceReplayBuffer
from dream_agents.replay.arrays import cut_episodes
from dream_agents.wrappers.divergence import INVALID_STEP
from dream_agents.wrappers.watched import NotFiniteError, watched

SelfCollectingAgent = TypeVar("SelfCollectingAgent", bound="CollectingAgent")


class CollectingAgent(OffPolicyAlgorithm):
    """The part of every agent that steps environments; these are watched (:mod:`dream_agents.wrappers.watched`).

    A step is stored before callbacks get to know of it: they may stop learning, or evaluate in the same environments.
    Where anything else has moved the environments since the last step, they are reset and new episodes begin.
    """

    #: the environments' last movement that belongs to what was stored
    _last_movement: int = 0
    #: what callbacks hold until ``learn`` ends, however it does: ``while_learning.enter_context(...)``
    while_learning: ExitStack
    _pace: Pace | None = None
    _chose_at: float = 0.0
    _collected_at: float | None = None
    _updates_before: int = 0
    _warned_of_learning_starts: bool = False
    _callback: BaseCallback | None = None
    _is_stopped: bool = False

    @property
    def updates_left(self) -> int:
        """Updates that are due before the next decision."""
        return 0

    def learn(
        self: SelfCollectingAgent,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int = 4,
        tb_log_name: str | None = None,
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> SelfCollectingAgent:
        """Learn for ``total_timesteps`` decisions, as Stable-Baselines3's ``learn``."""
        name = tb_log_name or type(self).__name__
        with ExitStack() as self.while_learning:
            self.while_learning.callback(self._forget_this_learning)
            return super().learn(
                total_timesteps, callback, log_interval, name, reset_num_timesteps, progress_bar
            )

    def _forget_this_learning(self) -> None:
        """Drop callbacks of one ``learn``, so that the agent can be copied and pickled."""
        self._callback = None
        if self._pace is not None:
            self._pace.bar = None

    def _setup_learn(
        self,
        total_timesteps: int,
        callback: MaybeCallback = None,
        reset_num_timesteps: bool = True,
        tb_log_name: str = "run",
        progress_bar: bool = False,
    ) -> Any:
        self._is_stopped = False
        if isinstance(self.replay_buffer, SequenceReplayBuffer):
            # Stable-Baselines3 would mark an end in an array that this replay does not have.
            self.optimize_memory_usage = False
        if isinstance(self.action_noise, VectorizedActionNoise):  # for as many environments as there were
            self.action_noise = self.action_noise.base_noise
        starts_new_episodes = reset_num_timesteps or self._last_obs is None
        result = super()._setup_learn(
            total_timesteps, callback, reset_num_timesteps, tb_log_name, progress_bar
        )
        if starts_new_episodes:
            self._begin_episodes()
        self._warn_if_nothing_will_be_learned()
        return result

    def _warn_if_nothing_will_be_learned(self) -> None:
        starts = int(self.learning_starts)
        if self._n_updates == 0 and self._total_timesteps <= starts and not self._warned_of_learning_starts:
            self._warned_of_learning_starts = True
            warnings.warn(
                f"learn() ends at decision {self._total_timesteps}, and decisions are random until learning_starts="
                f"{starts}: there will be no update; ask for more decisions or set learning_starts",
                stacklevel=4,
            )

    def _init_callback(self, callback: MaybeCallback, progress_bar: bool = False) -> BaseCallback:
        users, first = super()._init_callback(callback, progress_bar), _StoreStep()
        bars = [one for one in getattr(users, "callbacks", [users]) if isinstance(one, ProgressBarCallback)]
        self._pace = Pace(type(self).__name__, self.device, self._left, bars[-1] if bars else None)
        self._collected_at = None
        first.init_callback(self)
        both = CallbackList([first, users])
        both.model = self  # init_callback would initialise the users' twice
        return both

    def collect_rollouts(
        self, env: VecEnv, callback: BaseCallback, *args: Any, **kwargs: Any
    ) -> RolloutReturn:
        """Do the updates that are left, then collect steps, unless a callback has stopped learning.

        :raises NotFiniteError: if an observation or a reward is not finite; that step is not stored
        """
        self._callback = callback
        if self.updates_left > 0 and not self._is_stopped:
            self._do_updates_left()
        if self._is_stopped:
            return RolloutReturn(0, 0, continue_training=False)
        if self._collected_at is not None:
            self._updates_took(
                time.perf_counter() - self._collected_at, self._n_updates - self._updates_before
            )
        try:
            rollout = super().collect_rollouts(env, callback, *args, **kwargs)
            self._collected_at, self._updates_before = time.perf_counter(), self._n_updates
            return rollout
        except NotFiniteError as error:
            stops = watched(env).not_finite == "stop"
            instead = ', or give not_finite="end" to end its episode there' if stops else ""
            raise NotFiniteError(
                f"at decision {self.num_timesteps + env.num_envs}, {error}; nothing of that step was stored. Mend the "
                f"environment{instead}"
            ) from error

    def _sample_action(
        self, learning_starts: int, action_noise: ActionNoise | None = None, n_envs: int = 1
    ) -> tuple[np.ndarray, np.ndarray]:
        self._return_from_elsewhere()
        self._chose_at = time.perf_counter()
        return super()._sample_action(learning_starts, action_noise, n_envs)

    def _return_from_elsewhere(self) -> None:
        """Reset the environments if they are not where the last step left them."""
        assert self.env is not None
        if watched(self.env).last_movement == self._last_movement:
            return
        self._last_obs = self.env.reset()  # type: ignore[assignment]
        if self._vec_normalize_env is not None:
            self._last_original_obs = self._vec_normalize_env.get_original_obs()
        self._last_episode_starts = np.ones(self.env.num_envs, dtype=bool)
        if self.action_noise is not None:
            self.action_noise.reset()
        self._begin_episodes()

    def _begin_episodes(self) -> None:
        """Separate what comes from what is stored: the environments have just been reset."""
        assert self.env is not None and self.replay_buffer is not None
        cut_episodes(self.replay_buffer)
        self._last_movement = watched(self.env).last_movement

    def _store_transition(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing: :meth:`_store_step` has come before."""

    def _store_step(
        self,
        replay_buffer: ReplayBuffer,
        buffer_action: np.ndarray,
        new_obs: np.ndarray | dict[str, np.ndarray],
        reward: np.ndarray,
        dones: np.ndarray,
        infos: list[dict[str, Any]],
    ) -> None:
        """Store what Stable-Baselines3's ``_store_transition`` takes."""
        assert self.env is not None
        drops = any(INVALID_STEP in info for info in infos)
        if drops and not isinstance(replay_buffer, SequenceReplayBuffer):
            # Plain buffers store all environments or none.
            cut_episodes(replay_buffer)
            self._last_obs = new_obs
            if self._vec_normalize_env is not None:
                self._last_original_obs = self._vec_normalize_env.get_original_obs()
        else:
            stored = self._encoded(replay_buffer)
            super()._store_transition(stored, buffer_action, new_obs, reward, dones, infos)
        self._last_episode_starts = dones  # checkpoints wait for an episode's end
        self._last_movement = watched(self.env).last_movement
        self._decisions_took(time.perf_counter() - self._chose_at)

    def _encoded(self, replay_buffer: ReplayBuffer) -> Any:
        """Hook: what observations are stored through, where replay holds other ones than the environment gives."""
        return replay_buffer

    # --------------------------- updates that make up for random decisions

    def _do_updates_left(self) -> None:
        """Hook: do :attr:`updates_left`, or those until a callback stops learning."""

    def _is_stopped_between_updates(self, done: int, count: int) -> bool:
        """Let callbacks act before the next of ``count`` updates, and say how far they are.

        :return: whether one of them has stopped learning
        """
        self._report(f"making up for the random decisions, update {done + 1} of {count}", again=True)
        if self._callback is not None and done > 0:  # before the first, the last decision is just over
            self._is_stopped = stops_at_rollout_start(self._callback)
        return self._is_stopped

    # ------------------------------------------------- how long it will take

    def _left(self) -> tuple[int, int, int]:
        """Random decisions, decisions by the agent and updates that are left of this ``learn``."""
        done, total, starts = self.num_timesteps, self._total_timesteps, int(self.learning_starts)
        random, planned = max(0, min(total, starts) - done), max(0, total - max(done, starts))
        assert isinstance(self.train_freq, TrainFreq)
        if self.gradient_steps < 0 or self.train_freq.unit != TrainFrequencyUnit.STEP:
            return random, planned, planned
        return random, planned, planned * self.gradient_steps // (self.train_freq.frequency * self.n_envs)

    def seconds_left(self) -> float | None:
        """Seconds that the rest of ``learn`` takes at the pace seen, without evaluations; None if not known yet."""
        return None if self._pace is None else self._pace.seconds_left()

    def _updates_took(self, seconds: float, count: int) -> None:
        if self._pace is not None:
            self._pace.took(2, seconds, count)

    def _decisions_took(self, seconds: float) -> None:
        """Note what a decision of every environment took, and say how long all will take, in time."""
        if self._pace is None:
            return
        is_random = self.num_timesteps <= int(self.learning_starts)
        self._pace.took(0 if is_random else 1, seconds, self.n_envs)
        starts = f"random decisions until learning starts at {self.learning_starts}"
        self._report(starts if is_random else "learning")

    def _report(self, doing: str, again: bool = False) -> None:
        if self._pace is not None and self._pace.is_due(doing, again):
            self._try_pace()
            self._pace.report(doing, again)
            size = getattr(self, "model_size", None)
            what = type(self).__name__ + (f" with model_size={size!r}" if isinstance(size, str) else "")
            self._pace.warn_if_days(f"{what} in {self._total_timesteps} decisions", self._advice())

    def _try_pace(self) -> None:
        """Hook: time ahead what was not seen yet, without any effect on the agent."""

    def _advice(self) -> str:
        """What to set where learning takes days."""
        return 'set device="cuda", fewer decisions, or fewer updates (train_freq=2, gradient_steps=1)'


class _StoreStep(BaseCallback):
    """Stores each step before other callbacks are called."""

    model: CollectingAgent

    def _on_step(self) -> bool:
        names = ("replay_buffer", "buffer_actions", "new_obs", "rewards", "dones", "infos")
        self.model._store_step(*(self.locals[name] for name in names))
        return True
