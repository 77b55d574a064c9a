"""The executor that trains one growing host after the other in the process of the run."""
