"""What each command does; a module for each group of them, imported when one is given."""
