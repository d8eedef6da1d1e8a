"""HumanoidBench."""
