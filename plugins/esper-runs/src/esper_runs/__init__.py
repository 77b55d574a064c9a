"""Reading runs: events, records, seeds, and the words and figures in which they are told. Imports no torch."""
