"""Tables of bad inputs by kind; each is a command line in a folder of files, for `tests.reliability.inputs`."""
