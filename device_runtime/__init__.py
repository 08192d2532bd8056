"""A phone: its examples, its training, and its session with the server.

This room imports only `protocol`. Modules that need torch and executorch are imported by whoever
asks for that engine, nobody else.
"""
