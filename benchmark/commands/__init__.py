"""The commands of the command line, one a file; heavy imports are inside the functions."""
