"""``python -m jitgrad doctor``: what jitgrad finds on this machine."""

import sys

_USAGE = """usage: python -m jitgrad doctor

doctor    print what is there for programs on the CPU and on a GPU, and what is missing;
          the exit status is 0 where programs run on the CPU"""


def main(arguments: list[str]) -> int:
    if arguments == ["doctor"]:
        from jitgrad.cuda import doctor

        return doctor.main()
    print(_USAGE, file=sys.stdout if arguments in (["-h"], ["--help"]) else sys.stderr)
    return 0 if arguments in (["-h"], ["--help"]) else 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
