"""One unlearning: a method under one Trainer, and what it costs."""
