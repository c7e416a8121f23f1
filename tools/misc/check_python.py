"""Say in one line what this Python lacks for `make install`; kept to syntax that old Pythons can read."""

import sys

if sys.version_info < (3, 10):
    sys.exit(
        'error: mmmamba needs Python >= 3.10, this is %d.%d; '
        'install a newer one and name it: make PYTHON=python3.12 install' % sys.version_info[:2]
    )
try:
    import ensurepip  # noqa: F401
    import venv  # noqa: F401
except ImportError as error:
    sys.exit(
        'error: this Python has no module %s; install it (Debian, Ubuntu: apt install python3-venv python3-pip)'
        % error.name
    )
