"""`python -m zero123` is `zero123`, for launchers that start modules."""

from zero123.cli import main

main()
