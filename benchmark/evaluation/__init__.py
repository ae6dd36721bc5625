"""What is left after unlearning: one measure a file; `catalogue` lists them without heavy imports."""
