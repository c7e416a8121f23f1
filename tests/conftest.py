"""Settings for the whole suite: the same examples on every run, no limit on the time of one (compilers run), and no
default scope of mmengine that outlives the test whose runner set it. The faults that tests inject are counted here:
the process that hears of all tests loads no other such file."""

import sys

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    'mmmamba', derandomize=True, database=None, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile('mmmamba')


_outcomes = {}


def pytest_runtest_logreport(report):
    if 'tests/faults/' in report.nodeid and (report.when == 'call' or report.failed):
        _outcomes[report.nodeid] = report.outcome


def pytest_terminal_summary(terminalreporter):
    if _outcomes:
        outcomes = list(_outcomes.values())
        passed, failed = outcomes.count('passed'), outcomes.count('failed')
        terminalreporter.write_line(f'tests/faults: {len(outcomes)} fault cases, {passed} passed, {failed} failed')


@pytest.fixture(autouse=True)
def forget_the_default_scope():
    yield
    registry = sys.modules.get('mmengine.registry')
    if registry is not None:
        registry.DefaultScope._instance_dict.clear()


@pytest.fixture
def no_formatting(monkeypatch):
    """mmengine formats the text of the config for each log and checkpoint, half the time of a tiny run."""
    monkeypatch.setattr('yapf.yapflib.yapf_api.FormatCode', lambda text, **style: (text, True))
