"""Speed and memory figures of `make bench`: one module a subject, each with `rows()`."""
