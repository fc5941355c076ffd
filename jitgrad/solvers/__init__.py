"""SciPy's solvers that take a function of the user's, on traced values: compiled loops, and implicit derivatives.

Above the transformations, which they use. ``frontend.substitute_table`` loads a module once a program uses that part of
SciPy.
"""
