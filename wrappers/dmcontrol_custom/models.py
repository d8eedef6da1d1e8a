"""The simulators of the tasks: dm_control's models, changed where TD-MPC2 changed them."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

from dm_control.suite import ball_in_cup, cheetah, hopper, pendulum, reacher, walker


def make_walker() -> Any:
    """Return the walker, on a floor that is drawn as far behind it as it can get."""
    physics = _unchanged(walker)
    physics.named.model.geom_size["floor", "x"] = 500
    return physics


def make_cheetah() -> Any:
    """Return the cheetah, on a floor that is drawn as far behind it as it can get."""
    physics = _unchanged(cheetah)
    physics.named.model.geom_size["ground", "x"] = 200
    return physics


def make_hopper() -> Any:
    """Return the hopper."""
    return _unchanged(hopper)


def make_ball_in_cup() -> Any:
    """Return the ball in a cup."""
    return _unchanged(ball_in_cup)


def make_pendulum() -> Any:
    """Return the pendulum."""
    return _unchanged(pendulum)


def make_three_link_reacher() -> Any:
    """Return a reacher with a third link, between arm and hand: 0.09 m each from joint to joint.

    Elbow and wrist bend by 80° either way (dm_control's wrist by 160°), so that the finger gets no nearer to
    the shoulder than about 0.09 m, pressing against the ends: a few targets of the hard task are out of reach.
    """
    xml, assets = reacher.get_model_and_assets()
    model = ElementTree.fromstring(xml)
    arm, hand, finger = (_find(model, "body", name) for name in ("arm", "hand", "finger"))
    _find(arm, "geom", "arm").set("fromto", "0 0 0 .09 0 0")
    forearm = ElementTree.Element("body", name="forearm", pos=".09 0 0")
    ElementTree.SubElement(
        forearm, "geom", name="forearm", type="capsule", fromto="0 0 0 .09 0 0", size=".01", material="self"
    )
    ElementTree.SubElement(forearm, "joint", name="elbow", limited="true", range="-80 80")
    arm.remove(hand)
    arm.append(forearm)
    forearm.append(hand)
    hand.set("pos", ".09 0 0")
    _find(hand, "joint", "wrist").set("range", "-80 80")
    finger.set("pos", ".09 0 0")
    motors = model.find("actuator")
    assert motors is not None
    motors.insert(1, ElementTree.Element("motor", name="elbow", joint="elbow"))
    return reacher.Physics.from_xml_string(ElementTree.tostring(model, encoding="unicode"), assets)


def _unchanged(domain: Any) -> Any:
    """Return the simulator of a domain of dm_control's as it is there."""
    return domain.Physics.from_xml_string(*domain.get_model_and_assets())


def _find(parent: ElementTree.Element, tag: str, name: str) -> ElementTree.Element:
    """Return the named element."""
    element = parent.find(f".//{tag}[@name='{name}']")
    assert element is not None, f"dm_control's reacher has no {tag} called {name}"
    return element
