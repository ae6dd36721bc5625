"""The report: one self-contained page and static figures, both made from the records alone."""
