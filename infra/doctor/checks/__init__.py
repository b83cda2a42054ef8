"""The checks, by theme. Each is pure, and its docstring's first paragraph is what it promises."""
