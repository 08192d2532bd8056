"""Rounds: who is asked, what they are given, when a round ends; drives `algorithm`."""
