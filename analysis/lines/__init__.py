"""One axis, or the steps, as lines with intervals."""
