"""What the analysis tools call."""
