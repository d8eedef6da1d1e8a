"""A window on what a planner thinks: its environment in 3D, its candidates, and what the simulator makes of its plan.

:class:`Session` runs an agent and says at each decision what it thought; :class:`Page` shows that in a browser (extra
``watch``), :func:`record` as a film. ``dream-agents watch`` is the command.
"""

from dream_agents.watch.film import record
from dream_agents.watch.session import Moment, Session
from dream_agents.watch.simulation import Twin, simulation_of
from dream_agents.watch.thought import Thought, think

__all__ = ["Moment", "Session", "Thought", "Twin", "record", "simulation_of", "think"]
