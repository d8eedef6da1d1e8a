import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from dream_agents import TDMPC2
from dream_agents.deploy import Controller, ControllerError
from dream_agents.export import operators
from dream_agents.models.tdmpc import TDMPCSize
from dream_agents.planners.dream import DreamPlanner

for name in ("onnx", "onnxscript", "onnxruntime"):
    pytest.importorskip(name, reason=f'exporting needs {name}: pip install "dream-agents[export]"')

TINY = {"model_size": TDMPCSize(16, 16, 16, 2, 2), "buffer_size": 100, "device": "cpu", "seed": 3}
PLANNER = DreamPlanner(horizon=2, candidates=2)


@pytest.fixture(scope="module")
def agent():
    agent = TDMPC2("Pendulum-v1", planner=PLANNER, **TINY)
    with torch.no_grad():  # heads begin at 0, where all plans are equally good
        for head in (agent.world_model.reward_head[-1], agent.world_model.value_heads[-1]):
            head.weight.normal_(std=1.0)
    return agent


@pytest.fixture(scope="module")
def planned(agent, tmp_path_factory):
    """A planner as a file."""
    return agent.export(tmp_path_factory.mktemp("planned") / "pendulum", observations=20)


@pytest.fixture(scope="module")
def policy(agent, tmp_path_factory):
    """The policy as a file, for two environments."""
    folder = tmp_path_factory.mktemp("policy")
    return agent.export(folder / "pendulum.onnx", planner="policy", n_envs=2, observations=20)


def test_a_planner_decides_in_a_file_as_in_predict(agent, planned, observations):
    controller, generator = Controller(planned.path), agent.policy.generator_for
    state = None
    for step, obs in enumerate(observations(10)):
        starts = np.array([step in (0, 6)])
        program_noise = _noise(controller, generator(state, starts, True))
        action = controller.act_with_noise(obs, program_noise, starts)
        expected, state = agent.predict(obs, state, starts, deterministic=True)
        np.testing.assert_allclose(action, expected, atol=2e-4)
        assert action.shape == (1,) and action.dtype == np.float32


def test_actions_are_in_the_environments_units_and_differ_with_observations(agent, planned, observations):
    controller = Controller(planned.path)
    actions = np.array([controller.act(obs) for obs in observations(20)])
    assert np.abs(actions).max() <= 2 and np.ptp(actions) > 0


def test_equal_seeds_give_equal_actions_and_a_reset_begins_again(planned, observations):
    controller = Controller(planned.path, seed=5)
    first = [controller.act(obs) for obs in observations(5)]
    controller.reset()
    np.testing.assert_array_equal(first, [controller.act(obs) for obs in observations(5)])
    other = Controller(planned.path, seed=6)
    assert not np.array_equal(first, [other.act(obs) for obs in observations(5)])


def test_several_environments_decide_in_one_call(agent, policy, observations):
    batch = observations(2)
    agent_policy = TDMPC2("Pendulum-v1", planner="policy", **TINY)
    agent_policy.world_model.load_state_dict(agent.world_model.state_dict())
    expected, _ = agent_policy.predict(batch, deterministic=True)
    np.testing.assert_allclose(Controller(policy.path).act(batch), expected, atol=2e-4)


def test_the_description_says_how_the_file_is_used(planned):
    found = json.loads(planned.description.read_text())
    roles = [entry["role"] for entry in found["inputs"]]
    assert roles == ["observation", "memory", "episode_start", "noise"]
    assert found["action"]["low"] == [-2.0] and found["action"]["high"] == [2.0]
    assert found["control_period_s"] == pytest.approx(0.05)
    assert found["planner"]["options"]["horizon"] == 2
    assert found["checked_against_predict"]["observations"] == 20
    assert found["card"]["environment"] == "Pendulum-v1"


def test_a_changed_weight_is_refused(planned, tmp_path):
    import onnx

    copied = _copy(planned, tmp_path)
    model = onnx.load(copied)
    weight = max(model.graph.initializer, key=lambda one: len(one.raw_data))
    values = np.frombuffer(weight.raw_data, np.float32).copy()
    values[0] += 1
    weight.raw_data = values.tobytes()
    onnx.save(model, copied)
    with pytest.raises(ControllerError, match="not what was exported"):
        Controller(copied)


def test_anothers_description_is_refused(planned, policy, tmp_path):
    copied = _copy(planned, tmp_path)
    copied.with_name("controller.json").write_text(policy.description.read_text())
    with pytest.raises(ControllerError, match="belongs to another export"):
        Controller(copied)


@pytest.mark.parametrize(
    ("observation", "message"),
    [
        (np.zeros(4, np.float32), r"shape \(4,\)"),
        (np.array([1.0, np.nan, 0.0]), "finite"),
        (np.array(["a", "b", "c"]), "type <U1"),
        ((np.zeros(3), {}), "env.reset"),
    ],
)
def test_a_wrong_observation_is_refused_with_the_reason(planned, observation, message):
    with pytest.raises(ControllerError, match=message):
        Controller(planned.path).act(observation)


def test_a_file_without_its_description_is_refused(planned, tmp_path):
    copied = _copy(planned, tmp_path)
    copied.with_name("controller.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"controller\.json is missing"):
        Controller(copied)


def test_an_export_that_differs_from_predict_is_not_kept(agent, tmp_path, monkeypatch):
    monkeypatch.setattr(operators, "mish", torch.relu)
    with pytest.raises(
        ValueError, match=r"does not decide as predict.*decision \d+, environment 0, action\[0\]"
    ):
        agent.export(tmp_path / "strict", planner="policy", observations=5)
    assert list(tmp_path.iterdir()) == []


def test_another_controller_in_the_folder_is_not_orphaned(agent, planned):
    with pytest.raises(ValueError, match="a folder of its own"):
        agent.export(planned.path.with_name("other"), planner="policy", observations=5)


@pytest.mark.parametrize(
    ("path", "format", "message"), [("a", "tflite", "tflite"), ("a.pt2", "onnx", "ends in")]
)
def test_unknown_formats_and_endings_are_refused(agent, tmp_path, path, format, message):
    with pytest.raises(ValueError, match=message):
        agent.export(tmp_path / path, format)


def test_a_clock_is_not_exported(agent, tmp_path):
    from dream_agents.planners.adaptive import AdaptivePlanner

    with pytest.raises(ValueError, match="budget_ms"):
        agent.export(tmp_path / "a", planner=AdaptivePlanner(budget_ms=5.0), observations=5)


def test_controllers_need_neither_torch_nor_gymnasium(planned):
    code = (
        "import sys, numpy as np; from dream_agents.deploy import Controller\n"
        f"action = Controller({str(planned.path)!r}).act(np.array([1.0, 0.0, 0.0]))\n"
        "assert action.shape == (1,)\n"
        "assert not {'torch', 'gymnasium', 'stable_baselines3', 'dream_agents.registry'} & set(sys.modules)\n"
        "import gymnasium; assert 'dmc_walker-walk-v0' in gymnasium.registry"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def _noise(controller, generator):
    shapes = {array["name"]: array["shape"] for array in controller.description["inputs"]}
    # 2 steps of 2 candidates, the action at the end, and which values count
    draws = [torch.randn(1, 2, 1, generator=generator) for _ in range(2)]
    draws += [torch.randn(1, 1, 1, generator=generator)]
    noise = torch.cat([draw.flatten() for draw in draws]).numpy()
    assert shapes["noise.normal"] == list(noise.shape)
    return {"noise.normal": noise}


def _copy(exported, folder):
    copied = folder / exported.path.name
    copied.write_bytes(exported.path.read_bytes())
    copied.with_name("controller.json").write_text(exported.description.read_text())
    return copied
