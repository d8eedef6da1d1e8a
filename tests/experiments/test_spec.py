"""Files of experiments: what they say, and what is said of mistakes in them."""

import dataclasses
import json

import pytest

from dream_agents.experiments import (
    Engine,
    find_experiment,
    jobs_of,
    narrowed,
    packaged_experiments,
    read_experiment,
)
from dream_agents.experiments.report import Content
from dream_agents.experiments.spec import experiment_of

FILE = """
title = "Two agents"
tasks = ["Pendulum-v1"]
seeds = [1, 2]
frames = 400

[agents.ours]
agent = "dream_mpc"
options = { backbone = "tdmpc2", "planner_kwargs.candidates" = [2, 5] }

[agents.trained]
model = "dream_mpc-walker-walk"
planners = ["dream"]

[planners.dream]
planner = "dream"

[planners.mppi]
planner = "mppi"
options = { samples = [64, 128] }

[evaluation]
episodes = 3

[scale.cpu]
frames = 200
seeds = [1]
model_size = "1M"
evaluation = { episodes = 2 }
"""


@pytest.fixture
def write(tmp_path):
    def write(text=FILE, old="", new=""):
        path = tmp_path / "two.toml"
        assert old in text
        path.write_text(text.replace(old, new))
        return path

    return write


def test_lists_of_values_are_a_sweep(write):
    experiment = read_experiment(write())
    assert list(experiment.agents) == ["ours,candidates=2", "ours,candidates=5", "trained"]
    assert list(experiment.planners) == ["dream", "mppi,samples=64", "mppi,samples=128"]
    assert experiment.agents["ours,candidates=5"].options["planner_kwargs.candidates"] == 5


def test_members_of_a_sweep_have_labels_of_their_own(write):
    experiment = read_experiment(write(FILE, 'agent = "dream_mpc"', 'agent = "dream_mpc"\nlabel = "Ours"'))
    titles = [variant.title for variant in experiment.agents.values()]
    assert titles == ["Ours, candidates=2", "Ours, candidates=5", "trained"]


def test_every_agent_has_a_seed_before_one_has_two(write, tmp_path):
    jobs = jobs_of(read_experiment(write()), tmp_path)
    assert [(job.variant.name, job.seed) for job in jobs] == [
        ("trained", 0),
        *[("ours,candidates=2", 1), ("ours,candidates=5", 1)],
        *[("ours,candidates=2", 2), ("ours,candidates=5", 2)],
    ]
    assert [planner.name for planner in jobs[0].planners] == ["dream"]


def test_a_scale_says_what_it_changes(write):
    experiment = read_experiment(write(), "cpu")
    assert (experiment.frames, experiment.seeds, experiment.evaluation.episodes) == (200, (1,), 2)
    assert experiment.agents["ours,candidates=2"].model_size == "1M"
    assert "frames 200 in place of 400" in experiment.changes
    assert "seeds 1 in place of 1, 2" in experiment.changes
    assert read_experiment(write()).changes == ()


def test_plain_values_and_back(write):
    experiment = read_experiment(write())
    assert experiment_of(json.loads(json.dumps(dataclasses.asdict(experiment)))) == experiment


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('title = "Two agents"', "", "the file lacks title"),
        ("seeds = [1, 2]", "seeds = [1, 1]", r"seeds = \[1, 1\] names something twice"),
        ("seeds = [1, 2]", 'seeds = ["1"]', r"the file.seeds = \['1'\]: a list of whole numbers is expected"),
        ("frames = 400", "frames = 0", "frames = 0: at least 1 is expected"),
        ("frames = 400", 'frames = "400"', "the file.frames = '400': a whole number is expected"),
        ("frames = 400", "frame = 400", "the file has 'frame', which is none of: .*frames"),
        ('agent = "dream_mpc"', "", "agents.ours needs either `agent`, .* or `model`"),
        (
            'planners = ["dream"]',
            'planners = ["cem"]',
            "agents.trained.planners names cem; the planners are dream",
        ),
        ("episodes = 3", "episode = 3", "evaluation has 'episode', which is none of"),
        ("[evaluation]", "[evaluation]\nn_envs = 0", "evaluation.n_envs = 0: at least 1 is expected"),
        ("[evaluation]", "[evaluation]\nevery_frames = -1", "evaluation.every_frames = -1: 0 for never"),
        (
            'planner = "dream"',
            'planner = "dream"\nlabel = "mppi,samples=64"',
            "two planners are called 'mppi,samp",
        ),
        ("[evaluation]", "[evaluation", "is no TOML"),
    ],
)
def test_mistakes_are_named(write, old, new, message):
    with pytest.raises(ValueError, match=message):
        read_experiment(write(FILE, old, new))


def test_packaged_experiments_can_be_read_at_every_scale():
    for name, path in packaged_experiments().items():
        for scale in ("paper", "cpu"):
            assert read_experiment(path, scale, name=name).name == name


def test_an_unknown_name_is_told_its_neighbour(write):
    with pytest.raises(ValueError, match="'evidenc' is no experiment; did you mean evidence"):
        find_experiment("evidenc")
    assert find_experiment(write())[0] == "two"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('agent = "dream_mpc"', 'agent = "sac"', "agents.ours.*'sac' has no world model .* planner 'dream'"),
        (
            "samples = [64, 128]",
            "sample = 64",
            "planners.mppi: planner \"mppi\" does not take {'sample': 64}",
        ),
        ("samples = [64, 128]", "samples = [0]", "planners.mppi,samples=0: .*samples"),
        ('tasks = ["Pendulum-v1"]', 'tasks = ["Pendulum-v9"]', "Pendulum-v9"),
        ("[scale.cpu]", "[report]\nfilm = true\n\n[scale.cpu]", "report has 'film', which is none of"),
        ("[scale.cpu]", '[[published]]\nmethod = "A"\n\n[scale.cpu]', "published has"),
    ],
)
def test_mistakes_come_to_light_before_anything_is_trained(write, tmp_path, old, new, message):
    with pytest.raises(ValueError, match=message):
        Engine(read_experiment(write(FILE, old, new)), tmp_path / "out")


def test_nothing_is_narrowed_to_twice_and_columns_of_others_are_left_out(write, tmp_path):
    column = '[report]\ncolumns = [{ label = "T", agent = "trained", planner = "dream" }]\n\n[scale.cpu]'
    part = narrowed(
        read_experiment(write(FILE, "[scale.cpu]", column)), agents=["ours,candidates=2"], seeds=[4, 4]
    )
    assert part.seeds == (4,)
    labels = [method.label for method in Content(part, tmp_path).methods]
    assert labels == [
        f"ours,candidates=2, {name}" for name in ("dream", "mppi,samples=64", "mppi,samples=128")
    ]
