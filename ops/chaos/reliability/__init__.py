"""The long runs behind `docs/reliability.md`: one fault, hundreds of times, with its own bounds."""
