"""The families of measures, one a file: a file's name is the family's."""
