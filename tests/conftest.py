"""Settings of the tests: hypothesis draws the same examples on every machine, at any speed; the
tests of a file run in one process, which makes what they share once."""

import pytest
from hypothesis import settings

settings.register_profile("overparam", deadline=None, derandomize=True, database=None)
settings.load_profile("overparam")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Group tests by file for `--dist loadgroup`, unless they say otherwise (by page)."""
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(item.path.stem))
