"""Searched studies: what was tried, and the lineage of a population."""
