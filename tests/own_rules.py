"""Client rules of a user's own, importable as `tests.own_rules:Name`."""

from __future__ import annotations

import numpy as np

from fedvoice.algorithm.client_rules import ClientRule


class Anchored(ClientRule):
    """Normalised steps with weight decay and a pull to the start. It keeps what it is given
    without a copy, as a pure function may."""

    def __init__(self, rate, memory=0.5, pull=0.1, decay=0.01):
        self.rate, self.memory = np.float32(rate), np.float32(memory)
        self.pull, self.keep = np.float32(pull), np.float32(1 - decay)

    def init(self, weights):
        return {"anchor": weights, "last": np.zeros_like(weights)}

    def step(self, weights, gradient, state):
        pull = self.pull * (weights - state["anchor"])
        direction = gradient + self.memory * state["last"] + pull
        norm = np.linalg.norm(direction, axis=-1, keepdims=True)
        after = self.keep * weights - self.rate * direction / (1 + norm)
        return after, {"anchor": state["anchor"], "last": gradient}


class Failing(ClientRule):
    """Raises at its third step."""

    def __init__(self):
        self.steps = 0

    def init(self, weights):
        return {}

    def step(self, weights, gradient, state):
        self.steps += 1
        if self.steps == 3:
            raise RuntimeError("out of ideas")
        return weights, state


class InPlace(ClientRule):
    """Writes into what it is given."""

    def init(self, weights):
        return {}

    def step(self, weights, gradient, state):
        weights -= gradient
        return weights, state


class Swallowing(ClientRule):
    """Makes numbers of everything."""

    def __init__(self, rate):
        self.rate = np.float32(rate)

    def init(self, weights):
        return {}

    def step(self, weights, gradient, state):
        return np.nan_to_num(weights) - self.rate * np.nan_to_num(np.sign(gradient)), state
