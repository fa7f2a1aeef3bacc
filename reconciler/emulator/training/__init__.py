"""Trains real models on CSV files, as a training web service does; it knows no HTTP and no jobs."""
