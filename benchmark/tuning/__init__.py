"""The one tuning of all methods: their search spaces, the search, and the values that it found."""
