"""Two axes as a map: its cells, how they look, and what speaks against them."""
