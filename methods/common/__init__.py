"""What methods share: the base classes, cards, the registry, layers and losses."""
