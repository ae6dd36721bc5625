"""What the site and the README show of the project itself (boards, cards, measures, commands), made and not copied."""
