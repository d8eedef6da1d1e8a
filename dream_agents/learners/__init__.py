"""Learners: how world models are trained."""
