"""The page of a study: maps, plots, captions, what speaks against them."""
