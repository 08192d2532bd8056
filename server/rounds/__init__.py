"""Rounds: selection, assignments, deadlines, commits; drives `algorithm`."""
