"""Pictures of computation graphs."""

import re

import numpy as np
import pytest

import jitgrad as jg
from jitgrad.draw import Drawing, DrawingError, draw
from jitgrad.errors import ArgumentError


def polynomial(x, y):
    return (x**2 + x * y) * y**3


def edges(drawing: Drawing) -> list[tuple[str, str, str]]:
    return re.findall(r'^  (\w+) -> (\w+) \[label="(.*)"\];$', str(drawing), re.MULTILINE)


def labels(drawing: Drawing) -> dict[str, str]:
    return dict(re.findall(r'^  (\w+) \[label="(.*)", fillcolor=\w+\];$', str(drawing), re.MULTILINE))


def test_a_scalar_program_shows_values_and_cotangents():
    drawing = draw(polynomial, 1.0, 2.0)
    nodes = labels(drawing)
    assert nodes["p0"] == r"x\n1\n∂ 32" and nodes["p1"] == r"y\n2\n∂ 44"
    assert any(re.fullmatch(r"multiply\\ntest_draw\.py:\d+", text) for text in nodes.values())
    found = edges(drawing)
    (last,) = [e for e in found if e[1] == "r0"]
    assert last[2] == r"24\n∂ 1"
    for k, total in ((0, 32.0), (1, 44.0)):
        parts = [float(label.split("∂ ")[1]) for source, _, label in found if source == f"p{k}"]
        assert len(parts) >= 2 and sum(parts) == total
    assert all("∂" in label for _, _, label in found)


def test_one_value_used_twice_by_one_op():
    def twice(x):
        y = np.exp(x)
        return np.logaddexp(y, y)

    found = edges(draw(twice, 0.0))
    assert [label for source, target, label in found if (source, target) == ("op0", "op1")] == [r"1\n∂ 0.5"] * 2
    assert (r"0\n∂ 1") in [label for source, _, label in found if source == "p0"]


def test_what_takes_no_derivative_shows_its_value_only():
    drawing = draw(lambda n, x: np.where(x > 0, x * n, 0.0), 3, 2.0)
    nodes = labels(drawing)
    assert nodes["p0"] == r"n\n3" and nodes["p1"] == r"x\n2\n∂ 3"
    assert any(label == "True" for _, _, label in edges(drawing))


def test_other_programs_show_types():
    drawing = draw(lambda x, w: np.sum(np.tanh(x @ w), axis=0), np.ones((2, 3)), np.ones((3, 4), np.float32))
    found = {label for _, _, label in edges(drawing)}
    assert {"f64[2,3]", "f32[3,4]", "f64[2,4]", "f64[4]"} <= found
    assert any("axes=(0,)" in text for text in labels(drawing).values())


@pytest.mark.parametrize("transform", [jg.jit, jg.grad, jg.value_and_grad, jg.hessian, lambda f: jg.jit(jg.grad(f))])
def test_a_transformed_function_draws_the_function_inside(transform):
    assert draw(transform(polynomial), 1.0, 2.0).dot == draw(polynomial, 1.0, 2.0).dot


def test_methods_and_static_arguments():
    class Model:
        @jg.grad
        def loss(self, x):
            return np.sin(x)

    assert "∂ 1" in draw(Model().loss, 0.0).dot

    @jg.jit(static_argnums=1)
    def f(x, n):
        return x * n if n > 2 else x

    assert len(edges(draw(f, 1.0, 3))) == 3 and len(edges(draw(f, 1.0, 2))) == 1


def test_trees_of_arguments():
    drawing = draw(lambda p: p["a"] * p["b"], {"a": 2.0, "b": 5.0})
    assert sorted(text.split("∂ ")[1] for text in labels(drawing).values() if "∂" in text) == ["2", "5"]


def test_a_graph_with_and_without_arguments():
    graph = jg.trace(polynomial, 1.0, 2.0)
    assert "∂ 44" in draw(graph, 1.0, 2.0).dot
    assert {label for _, _, label in edges(draw(graph))} == {"f64[]"}
    derivative = draw(jg.trace(jg.grad(polynomial), 1.0, 2.0), 1.0, 2.0)
    assert any(label.startswith("32") for _, target, label in edges(derivative) if target == "r0")
    with pytest.raises(ArgumentError, match="2 parameters"):
        draw(graph, 1.0)
    with pytest.raises(ArgumentError, match="function or a Graph"):
        draw(3.0)


def test_the_text_is_valid_dot():
    drawing = draw(lambda x: x * 'a"b\\'.count("a") + 1.5, 1.0)
    lines = drawing.dot.splitlines()
    assert lines[0] == 'digraph "<lambda>" {' and lines[-1] == "}"
    assert all(line.endswith(";") for line in lines[1:-1])
    graph = jg.trace(lambda x: x + 1.0, 1.0)
    graph.name = 'quoted "name" \\'
    assert draw(graph).dot.startswith('digraph "quoted \\"name\\" \\\\" {')


def test_saving(tmp_path, monkeypatch):
    drawing = draw(polynomial, 1.0, 2.0)
    drawing.save(tmp_path / "f.dot")
    assert (tmp_path / "f.dot").read_text(encoding="utf-8") == drawing.dot
    with pytest.raises(ArgumentError, match=r"'\.bmp'"):
        drawing.save(tmp_path / "f.bmp")
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(DrawingError, match="nstall"):
        drawing.save(tmp_path / "f.svg")
    assert not (tmp_path / "f.svg").exists()


def test_notebooks_without_graphviz_get_the_text(monkeypatch):
    drawing = draw(lambda x: x * 2, 1.0)
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert drawing._repr_svg_() is None
    assert drawing._repr_html_().startswith("<pre>digraph")
    assert "p0 -&gt; op" in drawing._repr_html_() and "<lambda>" not in drawing._repr_html_()


def test_svg_where_graphviz_is_installed():
    pytest.importorskip("graphviz")
    import shutil

    if shutil.which("dot") is None:
        pytest.skip("the program dot is not installed")
    drawing = draw(polynomial, 1.0, 2.0)
    svg = drawing._repr_svg_()
    assert svg is not None and "<svg" in svg and "multiply" in svg
    assert drawing._repr_html_() == svg


def test_svg_goes_through_the_graphviz_package(monkeypatch):
    graphviz = pytest.importorskip("graphviz")
    monkeypatch.setattr("shutil.which", lambda name: "/usr/bin/dot")
    monkeypatch.setattr(graphviz.Source, "pipe", lambda self, format, encoding: f"<svg>{format} {self.source}</svg>")
    drawing = draw(lambda x: x * 2, 1.0)
    assert drawing._repr_html_().startswith("<svg>svg digraph")
