"""The differential suites say at the run's end how much they have compared."""
import pytest

TOLD = pytest.StashKey()


def pytest_configure(config):
    config.stash[TOLD] = []


@pytest.fixture
def tell(request):
    """tell(text): a line below the results, under the test's name."""
    return lambda text: request.config.stash[TOLD].append(f"{request.node.name}: {text}")


def pytest_terminal_summary(terminalreporter, config):
    if config.stash[TOLD]:
        terminalreporter.section("compared")
        for line in config.stash[TOLD]:
            terminalreporter.write_line(line)
