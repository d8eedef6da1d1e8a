"""What only makes planning faster.

Nothing of the method (``models``, ``planners``, ``learners``) imports from here: with this folder deleted, or
``DREAM_AGENTS_FAST=0`` in the environment, everything works as before and gives the same up to rounding.
The door is :mod:`dream_agents.annex`.
"""
