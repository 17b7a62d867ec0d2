"""One wire language a file. They do not know each other."""
