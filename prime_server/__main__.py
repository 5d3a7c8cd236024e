"""`python -m prime_server`: the command of that name."""

from prime_server.commands.prime_server import main

if __name__ == "__main__":
    main()
