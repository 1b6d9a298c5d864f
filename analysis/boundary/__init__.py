"""Where something stops to hold: between cells, along another axis, refined, rough."""
