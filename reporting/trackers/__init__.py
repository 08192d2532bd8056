"""Experiment trackers as callbacks: csv, TensorBoard, MLflow, Weights & Biases.

Each is a module that is loaded when it is named. Imports `protocol` and the callbacks; runs and
`--log` reach them through the door `callbacks`.
"""
