"""Learning rates: which are stable, which are best, and where an instability comes."""
