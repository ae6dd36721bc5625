"""CLIPs by name: the registry of shipped weights, open_clip's models, BLIP folders, checkpoints."""
