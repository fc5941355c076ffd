"""The graph IR: types, index expressions, graphs, printing, parsing, verification, interpretation."""
