"""HTTP in and out: the relay's raw routes, the JSON API, and the composition root."""
