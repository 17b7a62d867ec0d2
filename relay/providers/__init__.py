"""One small file per provider; the OpenAI-compatible ones are rows of data. They do not know each other."""
