"""What learning says of its time."""

import signal
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from stable_baselines3.common.callbacks import BaseCallback

from dream_agents import SAC
from dream_agents.agents import pace, updating
from dream_agents.agents.interrupts import whole


class Clock:
    """Seconds that pass only when told."""

    def __init__(self):
        self.now = 0.0

    def perf_counter(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(pace, "time", clock)
    return clock


def make_pace(left, bar=None):
    return pace.Pace("TDMPC2", torch.device("cpu"), lambda: tuple(left), bar)


class TestPace:
    def test_what_is_left_at_the_pace_seen(self, clock):
        it = make_pace([100, 2000, 2100])
        assert it.needs() == [0, 1, 2]
        it.took(0, 0.2, 1), it.took(0, 0.4, 4)  # several environments
        assert it.seconds_left() is None
        it.took(1, 0.5, 1), it.took(2, 2.0, 1)
        assert it.seconds_left() == pytest.approx(100 * 0.15 + 2000 * 0.5 + 2100 * 2.0)

    def test_what_is_over_needs_no_pace(self, clock):
        it = make_pace([0, 10, 0])
        it.took(1, 1.0, 1)
        assert it.seconds_left() == 10

    def test_a_line_after_some_seconds_and_at_each_change(self, clock, capfd):
        it = make_pace([0, 1000, 1000])
        it.took(1, 0.5, 1), it.took(2, 1.0, 1)
        said = []
        for second in range(100):
            clock.now = float(second)
            doing = "random decisions" if second < 50 else "learning"
            if it.is_due(doing):
                it.report(doing)
                said.append(second)
        assert said == [3, 50]
        lines = capfd.readouterr().err.splitlines()
        assert lines[0] == (
            "TDMPC2: random decisions; 500 ms a decision, 1e+03 ms an update: about 0:25:00 left in all"
        )
        assert lines[1].startswith("TDMPC2: learning")

    def test_what_is_said_again(self, clock, capfd):
        it = make_pace([0, 1000, 1000])
        it.took(1, 0.5, 1), it.took(2, 1.0, 1)
        for second in range(100):
            clock.now = float(second)
            if it.is_due("updates", again=True):
                it.report(f"update {second}", again=True)
        assert len(capfd.readouterr().err.splitlines()) == 4  # at 3, 33, 63, 93

    def test_short_ones_are_quiet(self, clock, capfd):
        it = make_pace([0, 100, 100])
        it.took(1, 0.1, 1), it.took(2, 0.1, 1)
        clock.now = 10.0
        it.report("learning")
        assert capfd.readouterr().err == ""

    def test_beside_a_progress_bar(self, clock, capfd):
        texts = []
        bar = SimpleNamespace(pbar=SimpleNamespace(set_description=texts.append))
        it = make_pace([0, 1000, 1000], bar)
        it.took(1, 0.5, 1), it.took(2, 1.0, 1)
        it.report("learning")
        assert texts[0].startswith("learning; 500 ms a decision")
        assert capfd.readouterr().err == ""

    def test_days(self, clock):
        it = make_pace([0, 100_000, 100_000])
        it.took(1, 1.0, 1), it.took(2, 4.0, 1)
        with pytest.warns(
            UserWarning, match=r"TDMPC2 will take about 6 days on this machine \(cpu, .*\): do less"
        ):
            it.warn_if_days("TDMPC2", "do less")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            it.warn_if_days("TDMPC2", "do less")  # once


@pytest.fixture
def impatient(monkeypatch):
    """Everything is long enough to be announced at once."""
    for name, value in {"_FIRST": 0.0, "_BETWEEN": 0.0, "_SHORT": 0.0}.items():
        monkeypatch.setattr(pace, name, value)
    monkeypatch.setattr(updating, "_LONG", 1)


def weights(agent):
    return torch.cat([value.flatten().float() for value in agent.world_model.state_dict().values()])


class TestLearning:
    def test_it_is_told_how_long_all_will_take_while_decisions_are_random(self, make_agent, impatient, capfd):
        agent = make_agent(planner="policy")
        told = []

        class Look(BaseCallback):
            def _on_step(self):
                told.append((self.num_timesteps, self.model.seconds_left()))
                return True

        agent.learn(60, callback=Look())
        random = [left for at, left in told if at < 20]
        assert random[-1] is not None and random[-1] > 0
        assert told[-1][1] == 0 or told[-1][1] < random[-1]
        err = capfd.readouterr().err
        assert "random decisions until learning starts at 20; " in err
        assert "ms a decision" in err and "left in all" in err
        assert "making up for the random decisions, update" in err

    def test_trying_changes_nothing(self, make_agent, impatient, monkeypatch):
        tried = make_agent().learn(40)
        monkeypatch.setattr(updating, "_LONG", 10**9)
        assert torch.equal(weights(tried), weights(make_agent().learn(40)))

    def test_sac(self, impatient, capfd):
        agent = SAC(
            "Pendulum-v1", device="cpu", learning_starts=20, batch_size=8, policy_kwargs={"net_arch": [8]}
        )
        agent.learn(1100)
        assert agent.seconds_left() == 0
        err = capfd.readouterr().err
        assert "how long the whole takes is known when learning has begun" in err
        assert "ms an update" in err

    def test_days_are_announced_with_what_to_set(self, make_dream, impatient, monkeypatch):
        monkeypatch.setattr(pace, "_DAYS", 1e-9)
        with pytest.warns(
            UserWarning, match=r"DreamMPC in 40 decisions will take .*training_planner=\"policy\""
        ):
            make_dream(planner="policy").learn(40)

    def test_nothing_will_be_learned(self, make_agent):
        with pytest.warns(
            UserWarning, match="ends at decision 10, and decisions are random until learning_starts=20"
        ):
            make_agent().learn(10)

    def test_nothing_can_be_learned_yet(self, dreamer):
        with pytest.warns(UserWarning, match="DreamerV3 can't learn yet: .* no sub-sequence of 8 steps"):
            agent = dreamer(learning_starts=2).learn(12)
        assert agent._n_updates > 0


class StoppedError(Exception):
    pass


class StopAfter(BaseCallback):
    """Stops between two updates, once there have been so many."""

    def __init__(self, updates):
        super().__init__()
        self.updates, self.seen = updates, []

    def _on_rollout_start(self):
        self.seen.append(self.model._n_updates)
        if self.model._n_updates == self.updates:
            raise StoppedError

    def _on_step(self):
        return True


class TestCatchUp:
    def test_callbacks_are_called_between_updates(self, make_agent):
        callback = StopAfter(-1)
        agent = make_agent().learn(30, callback=callback)
        assert set(range(1, 20)) <= set(callback.seen)
        assert agent.updates_left == 0

    @pytest.mark.parametrize("from_a_checkpoint", [False, True])
    def test_they_go_on_where_they_were_stopped(self, make_agent, tmp_path, from_a_checkpoint):
        whole = make_agent().learn(30)
        agent = make_agent()
        with pytest.raises(StoppedError):
            agent.learn(30, callback=StopAfter(7))
        assert agent._n_updates == 7
        assert agent.updates_left > 5
        decisions = agent.num_timesteps
        if from_a_checkpoint:
            agent.save_checkpoint(tmp_path)
            agent = type(agent).load_checkpoint(tmp_path, device="cpu")
            assert (agent._n_updates, agent.num_timesteps) == (7, decisions)
        agent.learn(30 - decisions, reset_num_timesteps=False)
        assert (agent._n_updates, agent.num_timesteps) == (whole._n_updates, 30)
        if not from_a_checkpoint:  # otherwise the episode was cut
            assert torch.equal(weights(agent), weights(whole))

    @pytest.mark.parametrize("from_a_checkpoint", [False, True])
    def test_a_callback_that_returns_false_stops_there(self, make_agent, tmp_path, from_a_checkpoint):
        class Stop(BaseCallback):
            ended = 0

            def _on_rollout_start(self):
                return self.model._n_updates != 7

            def _on_step(self):
                return True

            def _on_training_end(self):
                self.ended += 1

        stop, other = Stop(), StopAfter(-1)
        agent = make_agent().learn(30, callback=[stop, other])
        assert (agent._n_updates, other.seen[-1], stop.ended) == (7, 7, 1)
        decisions = agent.num_timesteps
        if from_a_checkpoint:
            agent.save_checkpoint(tmp_path)
            agent = type(agent).load_checkpoint(tmp_path, device="cpu")
        agent.learn(30 - decisions, reset_num_timesteps=False)
        whole = make_agent().learn(30)
        assert (agent._n_updates, agent.num_timesteps) == (whole._n_updates, 30)
        if not from_a_checkpoint:
            assert torch.equal(weights(agent), weights(whole))

    @pytest.mark.parametrize("at", [5, 22])
    def test_ctrl_c_in_the_middle_of_an_update_waits_for_its_end(self, make_agent, at):
        agent, pressed = make_agent(), []
        sample = agent.replay_buffer.sample

        def press(*arguments, **keywords):
            if agent._n_updates == at and not pressed:
                pressed.append(True)
                signal.raise_signal(signal.SIGINT)
            return sample(*arguments, **keywords)

        agent.replay_buffer.sample = press
        with pytest.raises(KeyboardInterrupt):
            agent.learn(30)
        del agent.replay_buffer.sample
        assert agent._n_updates == at + 1
        agent.learn(30 - agent.num_timesteps, reset_num_timesteps=False)
        whole = make_agent().learn(30)
        assert agent._n_updates == whole._n_updates
        assert torch.equal(weights(agent), weights(whole))

    def test_a_second_ctrl_c_does_not_wait(self):
        def press_twice():
            with whole():
                signal.raise_signal(signal.SIGINT)
                with pytest.raises(KeyboardInterrupt):
                    signal.raise_signal(signal.SIGINT)

        with pytest.raises(KeyboardInterrupt):
            press_twice()
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler

    def test_interrupted_by_the_keyboard(self, make_agent):
        agent = make_agent()
        update = agent.learner.pretrain

        def interrupted(batch):
            if agent._n_updates == 5:
                agent.learner.pretrain = update
                raise KeyboardInterrupt
            return update(batch)

        agent.learner.pretrain = interrupted
        with pytest.raises(KeyboardInterrupt):
            agent.learn(30)
        assert agent._n_updates == 5
        agent.learn(30 - agent.num_timesteps, reset_num_timesteps=False)
        assert agent._n_updates == make_agent().learn(30)._n_updates

    def test_weights_alone_don_t_wait_for_replay(self, make_agent, tmp_path):
        agent = make_agent()
        with pytest.raises(StoppedError):
            agent.learn(30, callback=StopAfter(7))
        agent.save(tmp_path / "agent")
        loaded = type(agent).load(tmp_path / "agent", env="Pendulum-v1", device="cpu")
        loaded.learn(30, reset_num_timesteps=False)
        assert loaded.updates_left == 0
        assert np.isfinite(weights(loaded).numpy()).all()
