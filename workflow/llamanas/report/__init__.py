"""The report: one summary table, the figures, and one self-contained page that says what was found and how sure."""
