"""Settings of the tests: hypothesis draws the same examples on every machine, at any speed; tests
that share something dear run in one process."""

import re

from hypothesis import settings

settings.register_profile("overparam", deadline=None, derandomize=True, database=None)
settings.load_profile("overparam")


def together(nodeid):
    """What a test runs together with: the others of its page of the book, else of its file."""
    page = re.search(r"\[.*?(book/[\w/]+)", nodeid)
    return page[1] if page else nodeid.partition("::")[0]


def pytest_xdist_make_scheduler(config, log):
    """With `--dist loadgroup`, keep such tests in one process."""
    if config.getvalue("dist") != "loadgroup":
        return None
    from xdist.scheduler import LoadScopeScheduling

    class Together(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            return together(nodeid)

    return Together(config, log)
