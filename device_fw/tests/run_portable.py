"""Runs portable tests on MicroPython: `run_portable.py MODULE...` prints "ok" or "failed", module and name, for each."""

import sys

for module in sys.argv[1:]:
    tests = __import__(module, None, None, ("x",))
    for name in dir(tests):
        if name.startswith("test_"):
            try:
                getattr(tests, name)()
            except BaseException as error:  # the supervisor of the tests: whatever happens is a result
                sys.stdout.write(f"failed {module} {name}\n")
                sys.print_exception(error, sys.stdout)  # type: ignore[attr-defined]  # MicroPython only
            else:
                sys.stdout.write(f"ok {module} {name}\n")
