"""Data sets, forget requests and the DataModules that hand a method exactly what its data regime allows."""
