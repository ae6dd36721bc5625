"""Suites: what is asked, from a YAML file to the cells that answer it."""
