"""The examples run, and do what they say."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


def load(name: str) -> ModuleType:
    """The example as a module of its own, as ``python examples/NAME.py`` would see it, without running ``main``."""
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_train_digits_reaches_97_percent(tmp_path, capsys):
    pytest.importorskip("sklearn")
    picture = tmp_path / "curve.png"
    accuracy = load("train_digits").main(["--epochs", "30", "--output", str(picture)])
    assert accuracy >= 0.97
    printed = capsys.readouterr().out
    assert "time of a step" in printed
    assert f"{accuracy:.2%} on 360 test digits" in printed
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_train_digits_keeps_float32():
    """The update must not promote the weights: that would compile again at every step and halve the speed."""
    pytest.importorskip("sklearn")
    example = load("train_digits")
    np = example.np
    params = example.initial_params(np.random.default_rng(0))
    zeros = {name: np.zeros_like(w) for name, w in params.items()}
    x, _, y, _ = example.load_data(0)
    new, adam, value = example.step(params, example.Adam(np.float32(0), zeros, zeros), x[:64], y[:64])
    assert {w.dtype for w in new.values()} == {np.dtype(np.float32)}
    assert {w.dtype for w in adam.square.values()} == {np.dtype(np.float32)}
    assert np.asarray(adam.count).dtype == np.float32
    assert adam.count == 1
    assert np.asarray(value).dtype == np.float32


def test_train_digits_on_a_gpu_has_the_losses_of_the_cpu(monkeypatch, capsys):
    """Two epochs of two batches, on the simulated device."""
    pytest.importorskip("sklearn")
    from jitgrad import config
    from jitgrad.cuda.array import DeviceArray

    losses, on_device = {}, []
    for target in ("cpu", "cuda"):
        example = load("train_digits")
        x, x_test, y, y_test = example.load_data(0)
        monkeypatch.setattr(example, "load_data", lambda seed, part=(x[:96], x_test, y[:96], y_test): part)
        step, found = example.step, losses.setdefault(target, [])

        def recorded(*args, step=step, found=found):
            result = step(*args)
            found.append(float(result[2]))
            on_device.append({isinstance(a, DeviceArray) for a in (*args[0].values(), *args[2:], result[2])})
            return result

        monkeypatch.setattr(example, "step", recorded)
        with config.using(cuda_driver="simulated"):
            example.main(["--target", target, "--epochs", "2", "--batch", "48", "--no-plot"])
        assert "on 360 test digits" in capsys.readouterr().out
    assert losses["cuda"] == pytest.approx(losses["cpu"], rel=1e-5)
    assert len(losses["cpu"]) == 5 and losses["cpu"][0] > losses["cpu"][-1]
    assert on_device == 5 * [{False}] + 5 * [{True}]


def test_train_digits_without_a_gpu_says_so(monkeypatch, capsys):
    pytest.importorskip("sklearn")
    from jitgrad.cuda import driver_cuda
    from jitgrad.errors import DeviceError

    def none():
        raise DeviceError("there is no CUDA driver on this machine")

    monkeypatch.setattr(driver_cuda, "count", none)
    with pytest.raises(SystemExit) as end:
        load("train_digits").main(["--target", "cuda", "--epochs", "1"])
    assert end.value.code == 1
    assert "there is no CUDA driver on this machine" in capsys.readouterr().err


def test_chain_rule_agrees_and_draws(tmp_path, capsys):
    count = load("chain_rule").main(["--output", str(tmp_path)])
    assert count >= 45
    printed = capsys.readouterr().out
    assert "gradient at (1, 2): (32, 44)" in printed
    assert "gradient at (0, 1, 2, 3): [ 0.  4.  8. 12.]" in printed
    for name in ("chain_rule_compositions.png", "chain_rule_tangents.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


def test_chain_rule_check_can_fail():
    """A wrong closed form is noticed."""
    example = load("chain_rule")
    wrong = example.Case("sin", example.np.sin, example.np.sin, 0, 1)
    with pytest.raises(AssertionError):
        example.check(wrong, wrong.points())


def test_conv_net_learns():
    pytest.importorskip("sklearn")
    assert load("conv_net").main(["--epochs", "12"]) >= 0.96


def test_convolution_of_the_example_is_a_convolution():
    pytest.importorskip("sklearn")
    np = pytest.importorskip("numpy")
    ndimage = pytest.importorskip("scipy.ndimage")
    example = load("conv_net")
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(2, 8, 8, 1)), rng.normal(size=(9, 1))
    found = example.conv3x3(x, w, np.zeros(1))[..., 0]
    expected = [ndimage.correlate(image[..., 0], w.reshape(3, 3))[1:-1, 1:-1] for image in x]
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_logistic_regression_finds_the_optimum():
    pytest.importorskip("sklearn")
    assert load("logistic_regression").main([]) < 1e-6


def test_rosenbrock_is_minimised():
    assert load("rosenbrock").main(["--n", "10"]) < 1e-3
