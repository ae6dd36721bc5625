"""The process in which a method unlearns, and the way into it and out of it."""
