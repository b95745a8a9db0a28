"""Suite-wide settings: Hypothesis profiles and the place of the shared vectors and data."""

import importlib.util
import os
import signal
from pathlib import Path
from types import ModuleType

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as the command line does, and before numpy

import pytest
from hypothesis import HealthCheck, settings

SLOW_IS_FINE = (HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much)

settings.register_profile(
    "quick", max_examples=25, deadline=None, print_blob=True, suppress_health_check=SLOW_IS_FINE
)
settings.register_profile(
    "thorough", max_examples=1000, deadline=None, print_blob=True,
    suppress_health_check=SLOW_IS_FINE,
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # a shell starts background jobs deaf to Ctrl-C, and the commands under test would inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)

SHARED = Path(os.environ.get("BDN_SHARED", Path(__file__).parents[2] / "shared"))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of public vectors and real data; tests that need it skip where it is absent."""
    if not SHARED.is_dir():
        pytest.skip(f"no shared folder at {SHARED.name}/ beside the repository")
    return SHARED


@pytest.fixture(scope="session")
def checker() -> ModuleType:
    """`tests/docs_checker.py`, which is a command too."""
    path = Path(__file__).parent / "docs_checker.py"
    spec = importlib.util.spec_from_file_location("docs_checker", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
