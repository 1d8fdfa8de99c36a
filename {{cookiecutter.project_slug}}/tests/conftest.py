"""Set before torch is imported: threads that have nothing to do give way to those that have."""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
