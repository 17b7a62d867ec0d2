"""The JSON API under `/api`, as the family has it: for the console, for scripts and for existing tools."""
