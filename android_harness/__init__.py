"""Emulated phones, fleets of them on a desktop, their data and their reports."""
