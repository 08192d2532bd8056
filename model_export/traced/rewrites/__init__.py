"""The replacements, by topic. Importing this package fills the table of `rewriting`."""

from fedvoice.model_export.traced.rewrites import (
    activations as activations,
)
from fedvoice.model_export.traced.rewrites import (
    attention as attention,
)
from fedvoice.model_export.traced.rewrites import (
    convolutions as convolutions,
)
from fedvoice.model_export.traced.rewrites import (
    ctc as ctc,
)
from fedvoice.model_export.traced.rewrites import (
    draws as draws,
)
from fedvoice.model_export.traced.rewrites import (
    indexing as indexing,
)
from fedvoice.model_export.traced.rewrites import (
    losses as losses,
)
from fedvoice.model_export.traced.rewrites import (
    norms as norms,
)
from fedvoice.model_export.traced.rewrites import (
    numbers as numbers,
)
from fedvoice.model_export.traced.rewrites import (
    packed as packed,
)
from fedvoice.model_export.traced.rewrites import (
    picking as picking,
)
from fedvoice.model_export.traced.rewrites import (
    pools as pools,
)
from fedvoice.model_export.traced.rewrites import (
    recurrent as recurrent,
)
from fedvoice.model_export.traced.rewrites import (
    refusals as refusals,
)
from fedvoice.model_export.traced.rewrites import (
    transducer as transducer,
)
