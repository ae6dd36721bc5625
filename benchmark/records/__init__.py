"""Records: one a cell, what is kept beside it, and the ledger of what failed."""
