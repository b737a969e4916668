"""An app for the benchmark of teardowns: what an organization owns by the million."""
