"""What the end-to-end tests stand on: a scripted upstream, a real gateway process, and a client for its JSON API."""
