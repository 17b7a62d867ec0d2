"""What a call costs, in multiples of a bare echo measured beside it. Start with README.md."""
