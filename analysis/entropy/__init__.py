"""Entropy collapse of policies: when, at which price, under which algorithm."""
