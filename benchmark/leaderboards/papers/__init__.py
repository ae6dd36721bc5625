"""The tables of the papers, measured and published side by side, one paper a file."""
