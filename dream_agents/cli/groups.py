"""The parts of an agent, and the options that each of them takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dream_agents.cli.signatures import Keyword, class_made_by, keywords_of

#: arguments of world models that the agent decides
_OF_THE_AGENT = ("obs_shape", "action_dim", "size", "discount", "episodic")


@dataclass(frozen=True)
class OptionGroup:
    """Options of one part of an agent.

    :param keyword: the agent's keyword that takes them, e.g. "planner_kwargs"
    :param owner: whose they are, in words
    :param options: they themselves, by name
    :param is_complete: whether there are no others
    """

    keyword: str
    owner: str
    options: Mapping[str, Keyword]
    is_complete: bool = True


def option_groups(
    agent: type[Any], keywords: Mapping[str, Any], planner: str | None = None
) -> list[OptionGroup]:
    """Collect the options of an agent's learner, planners and networks.

    :param agent: the agent's class; one without a backbone has no such parts
    :param keywords: what is given to it, which may name its backbone and planners
    :param planner: name of the planner that acts, where it is not among the keywords
    :raises UnknownNameError: for a backbone or a planner that is none
    """
    from dream_agents.learners.base import get_backbone
    from dream_agents.registry import planners

    known = keywords_of(agent)

    def name_of(role: str) -> Any:
        return keywords.get(role, known[role].default if role in known else None)

    if "backbone" not in known:
        return []
    name = name_of("backbone")
    backbone = get_backbone(name)
    groups = [
        OptionGroup("learner_kwargs", f'the backbone "{name}"', keywords_of(backbone.config_class)),
    ]
    acts = planner or name_of("planner")
    acting = {
        "planner": acts,
        "training_planner": name_of("training_planner") or agent.default_training_planner(name, acts),
        "replanner": name_of("replanner"),
    }
    for role, chosen in acting.items():
        if isinstance(chosen, str):
            options = keywords_of(planners.get(chosen))
            groups.append(OptionGroup(f"{role}_kwargs", f'the planner "{chosen}"', options))
    model = class_made_by(backbone.build_world_model)
    if model is not None:
        options = {
            option: keyword for option, keyword in keywords_of(model).items() if option not in _OF_THE_AGENT
        }
        groups.append(OptionGroup("model_kwargs", f'the networks of "{name}"', options, is_complete=False))
    return groups


def groups_with(option: str, groups: list[OptionGroup]) -> list[OptionGroup]:
    """Find the groups that an option without a group is meant for.

    Planners may mean different things by one name, so it has to be said whose option it is. What the learner has, too,
    belongs to the method as a whole.

    :raises ValueError: if it is ambiguous
    """
    having = [group for group in groups if option in group.options]
    if len(having) > 1 and having[0].keyword != "learner_kwargs":
        choices = " or ".join(f"{group.keyword}.{option} ({group.owner})" for group in having)
        raise ValueError(f"--set {option}: that is ambiguous; write {choices}")
    return having
