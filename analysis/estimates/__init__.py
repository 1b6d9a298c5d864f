"""Numbers with intervals: medians of censored times, shares, regressions, jumps."""
