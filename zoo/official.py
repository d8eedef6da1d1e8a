"""The checkpoints that TD-MPC2's authors published, as entries: only single tasks that have an environment here.

Their cards are made from tables. Nothing in this module downloads anything.
"""

from __future__ import annotations

import dataclasses
from functools import cache

from dream_agents.registry import suites
from dream_agents.zoo.cards import Card, Network
from dream_agents.zoo.sources import HubAddress

GROUP = "tdmpc2-official"
REPOSITORY, REVISION = "nicklashansen/tdmpc2", "main"
SEEDS = (1, 2, 3)

#: Files in a layout older than any code that was released, which nothing reads right (TD-MPC2's issues 23 and 78).
UNREADABLE = frozenset(
    {
        *("cartpole-balance-1", "cartpole-balance-2", "cartpole-swingup-1", "cartpole-swingup-sparse-1"),
        *("cartpole-swingup-sparse-2", "humanoid-run-3", "humanoid-stand-3", "humanoid-walk-3"),
        *("pendulum-swingup-2", "walker-walk-backwards-1"),
    }
)
UNREADABLE_REASON = (
    "in a layout older than any code that TD-MPC2's authors released. What it computed besides its weights is not "
    "known: with the weights renamed for the released code, the returns measured in public were 1 and 234 where 893 "
    "and 866 were published. Take another seed of the task"
)

#: TD-MPC2's names of its tasks in the DeepMind Control Suite, 11 of which are its own.
DMCONTROL_TASKS: tuple[str, ...] = (
    *("acrobot-swingup", "cartpole-balance", "cartpole-balance-sparse", "cartpole-swingup"),
    *("cartpole-swingup-sparse", "cheetah-jump", "cheetah-run", "cheetah-run-back", "cheetah-run-backwards"),
    *("cheetah-run-front", "cup-catch", "cup-spin", "dog-run", "dog-stand", "dog-trot", "dog-walk"),
    *(
        "finger-spin",
        "finger-turn-easy",
        "finger-turn-hard",
        "fish-swim",
        "hopper-hop",
        "hopper-hop-backwards",
    ),
    *("hopper-stand", "humanoid-run", "humanoid-stand", "humanoid-walk", "pendulum-spin", "pendulum-swingup"),
    *("quadruped-run", "quadruped-walk", "reacher-easy", "reacher-hard", "reacher-three-easy"),
    *("reacher-three-hard", "walker-run", "walker-run-backwards", "walker-stand", "walker-walk"),
    "walker-walk-backwards",
)

#: TDMPC_SIZES["5M"], written out so that listing does not import PyTorch.
_SIZE = {
    "enc_dim": 256,
    "mlp_dim": 512,
    "latent_dim": 512,
    "num_enc_layers": 2,
    "num_values": 5,
    "simnorm_dim": 8,
}
#: By the repository's folder, what TD-MPC2's heuristic gives for its episodes of 500 and 100 decisions.
_DISCOUNTS = {"dmcontrol": 0.99, "metaworld": 0.95}


@dataclasses.dataclass(frozen=True)
class OfficialEntry:
    """One checkpoint.

    :param task: TD-MPC2's name of the task
    :param seed: of its training
    :param folder: of the repository
    :param suite: the suite in ``registry.suites``
    :param environment: the id there
    """

    task: str
    seed: int
    folder: str
    suite: str
    environment: str

    @property
    def name(self) -> str:
        """The entry's name in the zoo."""
        return f"{GROUP}/{self.task}-{self.seed}"

    @property
    def source(self) -> str:
        """Where it is downloaded from."""
        return str(HubAddress(REPOSITORY, REVISION, f"{self.folder}/{self.task}-{self.seed}.pt"))


@cache
def entries() -> dict[str, OfficialEntry]:
    """Return those that can be read by name: 39 tasks of DMControl and 50 of Meta-World, up to three seeds each."""
    dmc, metaworld = suites.get("dmc"), suites.get("metaworld")
    tasks = [("dmcontrol", dmc, task) for task in DMCONTROL_TASKS]
    # TD-MPC2's spelling is the first of an environment's other names.
    tasks += [("metaworld", metaworld, metaworld.task(id).aliases[0]) for id in metaworld.ids()]
    found = {}
    for folder, suite, task in tasks:
        id = suite.resolve(task)
        assert id is not None, f"the suite {suite.name} does not know {task}"
        for seed in SEEDS:
            entry = OfficialEntry(task, seed, folder, suite.name, id)
            if f"{task}-{seed}" not in UNREADABLE:
                found[entry.name] = entry
    return found


def make_card(entry: OfficialEntry) -> Card:
    """Make a card that says what is known without having seen the file."""
    task = suites.get(entry.suite).task(entry.environment)
    assert task.observation_size is not None and task.action_size is not None
    return Card(
        name=entry.name,
        agent="tdmpc2",
        backbone="tdmpc2",
        planner="dream",
        environment=entry.environment,
        obs_type="state",
        license="MIT",
        authors=("Nicklas Hansen", "Hao Su", "Xiaolong Wang"),
        source=entry.source,
        format="tdmpc2",
        network=Network(
            obs_shape=(task.observation_size,),
            action_dim=task.action_size,
            discount=_DISCOUNTS[entry.folder],
            episodic=False,
            model_size=dict(_SIZE),
        ),
        seed=entry.seed,
    )
