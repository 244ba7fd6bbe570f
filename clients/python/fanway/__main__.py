"""`python -m fanway` is the `fanway` command."""

from fanway.cli import main

main()
