"""The command line: thin commands over the same parts that the server is made of."""
