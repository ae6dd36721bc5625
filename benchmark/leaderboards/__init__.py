"""The leaderboard: records into rows, ranks, comparisons and tables."""
