"""One module a bug class, named after it, with a function `judge(case) -> Finding`."""
