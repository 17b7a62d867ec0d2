"""Carry one call to a provider and back: authenticate, hold, route, relay, meter, settle."""
