"""Settings for the whole suite: the same examples on every run, and no limit on the time of one (compilers run)."""

from hypothesis import HealthCheck, settings

settings.register_profile(
    'mmmamba', derandomize=True, database=None, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile('mmmamba')
