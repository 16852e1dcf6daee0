"""``make verifier``: count what the verifier looks at, and keep it; growth wants a reason."""

import argparse
import platform
import sys

from counts import everything, keep, read, table


def main() -> int:
    """Exit code 1 where a program has grown and no reason is given: nothing is written then."""
    parser = argparse.ArgumentParser(prog="make verifier")
    parser.add_argument("--why", default="", help="why programs have grown")
    why = parser.parse_args().why
    unexplained = keep(platform.release(), everything(), why)
    for line in unexplained:
        print(f"verifier: {line}", file=sys.stderr)
    if unexplained:
        print("verifier: say why: make verifier ARGS='--why \"…\"'", file=sys.stderr)
        return 1
    print(table(read()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
