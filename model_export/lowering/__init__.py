"""From graphs to one ExecuTorch program."""

import logging

# executorch's import registers an enum in a way that torch calls deprecated: not the reader's
# business, and it lands in the middle of progress displays.
logging.getLogger("torch.utils._pytree").setLevel(logging.ERROR)
