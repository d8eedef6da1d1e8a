"""Learning rates that change while an agent learns."""

import pytest

from dream_agents.agents.learning_rate import make_schedule


@pytest.fixture
def rates(make_dream):
    """The learning rate of each update of an agent that learns from its 21st decision on."""

    def learn(decisions, learning_rate):
        agent = make_dream(planner="policy", learning_rate=learning_rate)
        used = []

        def update(batch):
            used.append(agent.learner.optimizers["policy"].param_groups[0]["lr"])
            return {}

        agent.learner.update = update
        agent.learn(decisions)
        return used[-(decisions - 20) :], agent

    return learn


@pytest.mark.parametrize("learning_rate", ["lin_1e-3", lambda remaining: 1e-3 * remaining])
def test_falls_linearly(rates, learning_rate):
    used, _ = rates(40, learning_rate)
    assert used == pytest.approx([1e-3 * (1 - decision / 40) for decision in range(21, 41)])


def test_number(rates):
    assert set(rates(40, 1e-3)[0]) == {1e-3}


def test_saved(rates, tmp_path):
    _, agent = rates(40, "lin_1e-3")
    agent.save(tmp_path / "agent.zip")
    assert type(agent).load(tmp_path / "agent.zip").lr_schedule(0.25) == pytest.approx(2.5e-4)


def test_changed_when_loaded(make_dream, tmp_path):
    agent = make_dream()
    agent.save(tmp_path / "agent.zip")
    loaded = type(agent).load(tmp_path / "agent.zip", learning_rate="lin_2e-3")
    assert loaded.lr_schedule(0.25) == pytest.approx(5e-4)


@pytest.mark.parametrize("learning_rate", ["lin_", "lin_-1e-3", "lin_0", "lin_nan", "1e-3", "cosine_1e-3"])
def test_another_text(make_dream, learning_rate):
    with pytest.raises(ValueError, match=f'learning_rate="{learning_rate}" is not a schedule.*"lin_1e-3"'):
        make_dream(learning_rate=learning_rate)


def test_passes_numbers_through():
    assert make_schedule(3e-4) == 3e-4
