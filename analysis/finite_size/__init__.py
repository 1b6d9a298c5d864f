"""Transitions of several sizes laid upon each other."""
