"""The SDK as one artifact in a local Maven repository, and where everything in it comes from."""
