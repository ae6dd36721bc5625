"""One cell over several devices."""
