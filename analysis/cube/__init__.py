"""From rows on disk to one labelled Dataset, and what it is asked."""
