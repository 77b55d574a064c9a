"""Reading runs: events, records, seeds, and the words, figures and tables that describe them. Imports no torch."""
