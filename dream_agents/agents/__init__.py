"""Agents: a backbone, a planner for learning and a planner for acting, behind Stable-Baselines3's API."""
