"""What phones and the server agree on: messages, task packages, plans, tensors, costs.

This room imports none of the others, and neither torch nor executorch.
"""
