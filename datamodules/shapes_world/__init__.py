"""The embedded world: procedurally drawn scenes with captions."""
