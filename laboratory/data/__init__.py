"""Corpora of the federated-averaging paper as examples."""
