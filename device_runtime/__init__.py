"""A phone: its examples, its training, and its session with the server.

This room imports only `protocol`. Modules that need torch and executorch are imported by the users
of that engine alone.
"""
