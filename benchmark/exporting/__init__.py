"""Taking an unlearned model away: a folder in open_clip's format with a model card written from the record."""
