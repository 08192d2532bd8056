"""From graphs to one ExecuTorch program."""

import logging

# executorch's import registers an enum in a way that torch calls deprecated: of no use
# to users, and it would disturb progress displays.
logging.getLogger("torch.utils._pytree").setLevel(logging.ERROR)
