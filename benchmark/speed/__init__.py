"""Speed on the user's own machine: one module a measurement, each with `measure`; all in one run, as ratios."""
