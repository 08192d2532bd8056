"""A user's plug-ins, in a module that worker processes can import. Nothing is registered here."""

from __future__ import annotations

from fedvoice.algorithm.client_rules import SgdMomentum
from fedvoice.algorithm.link_rules import Weight
from fedvoice.algorithm.optimizers import SGD
from fedvoice.simulation.engines import Fast
from tests.simulation.module_kinds import Pooled


class OwnEngine(Fast):
    pass


class OwnModel(Pooled):
    pass


class OwnLink(Weight):
    pass


class OwnOptimizer:
    init, apply = staticmethod(SGD.init), staticmethod(SGD.apply)


class OwnRule(SgdMomentum):
    pass
