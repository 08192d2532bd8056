"""What phones and the server agree on: messages, task packages, plans, tensors, costs.

This room imports none of the others, and neither torch nor executorch.
"""

PROTOCOL_VERSION = 1
"""Of the messages: a server refuses phones that speak a newer one."""
