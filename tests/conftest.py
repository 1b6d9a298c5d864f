"""Settings that hold for every test."""

from __future__ import annotations

import os

# Before torch or numpy start their pools: bit-for-bit rules hold on one thread.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")

from hypothesis import HealthCheck, settings

settings.register_profile("phasecube", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("phasecube")
