"""How a cell comes to its record: unlearning in a process of its own, measuring in one that saw no method."""
