"""Corpora of the federated-averaging paper as examples, and how corpora are dealt to clients."""
