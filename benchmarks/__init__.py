"""Measurements that stand behind fedvoice's claims; each file is a command."""
