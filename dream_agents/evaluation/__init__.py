"""Evaluate, compare and report."""
