"""Every family but the network is held against conformance.py; and what some families promise beyond it."""

import re
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load, save

from pipeline import families, tasks
from pipeline.families import Loss, trees
from pipeline.params import BadInput
from tests import conformance
from tests.conformance import KNOBS, NAMES, TRAINED, WIDTHS, Case, Served, fit, matrix, run, spread, target, weights

HERE = [name for name in families.NAMES if name != "network"]  # whose packages only the job Train installs

case = cache(conformance.case)
SAME = 2e-6  # of log odds, or of a number's spread: linear coefficients are single precision
of_losses = pytest.mark.parametrize("loss", WIDTHS)


@pytest.mark.parametrize("check", conformance.CHECKS, ids=lambda check: check.__name__)
@of_losses
@pytest.mark.parametrize("name", HERE)
def test_conforms(name: str, loss: Loss, check: Callable[[Case], None]) -> None:
    check(case(name, loss))


@of_losses
@pytest.mark.parametrize("name", HERE)
def test_graph_needs_no_more_than_numpy_and_spox(name: str, loss: Loss, monkeypatch: pytest.MonkeyPatch) -> None:
    conformance.the_graph_needs_no_more_than_numpy_and_spox(case(name, loss), monkeypatch)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Served]:
    """Each family, exported once for each task."""
    return cache(lambda name, task: conformance.served(name, task, tmp_path_factory.mktemp("model") / name))


of_tasks = pytest.mark.parametrize("task", tasks.NAMES)


@pytest.mark.parametrize("check", conformance.SERVED, ids=lambda check: check.__name__)
@of_tasks
@pytest.mark.parametrize("name", HERE)
def test_serves(name: str, task: str, check: Callable[[Served], None], served: Callable[[str, str], Served]) -> None:
    check(served(name, task))


@of_tasks
@pytest.mark.parametrize("name", HERE)
def test_service_log_and_drift(
    name: str, task: str, served: Callable[[str, str], Served], monkeypatch: pytest.MonkeyPatch
) -> None:
    conformance.service_log_and_drift_take_what_the_model_says(served(name, task), monkeypatch)


@of_losses
@pytest.mark.parametrize("name", ["constant", "linear"])
def test_weight_of_two_is_a_row_twice(name: str, loss: Loss) -> None:
    """Of the trees it is not: a leaf needs so many rows, whatever they weigh."""
    twice = np.repeat(np.arange(TRAINED), weights()[:TRAINED].astype(int))
    values = matrix().values[TRAINED:]
    found = run(families.family(name), fit(name, loss, twice, np.ones(len(twice))).state, loss)(values)
    assert np.abs(found - case(name, loss).scores(values)).max() < SAME * spread(loss)


@of_losses
@pytest.mark.parametrize("name", ["constant", "linear"])
def test_order_of_training_rows_changes_nothing(name: str, loss: Loss) -> None:
    order = np.random.default_rng(3).permutation(TRAINED)
    values = matrix().values[TRAINED:]
    found = run(families.family(name), fit(name, loss, order).state, loss)(values)
    assert np.abs(found - case(name, loss).scores(values)).max() < SAME * spread(loss)


def test_a_library_that_the_machine_lacks_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lightgbm.py").write_text("raise OSError('libgomp.so.1: cannot open shared object file')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "lightgbm", raising=False)
    with pytest.raises(BadInput, match=r"^LightGBM cannot be loaded \(libgomp.so.1: .*`apt-get install libgomp1`"):
        fit("trees", "logistic")


@of_losses
def test_trees_of_one_leaf(loss: Loss) -> None:
    """Fewer rows than a leaf has to have: nothing is split, and all that is said is what the constant says."""
    few = np.concatenate([np.arange(30), np.flatnonzero(target("softmax") == 1)[:9]])
    trees_alone, constant = (fit(name, loss, few).state for name in ("trees", "constant"))
    values = matrix().values[:5]
    found = run(families.family("trees"), trees_alone, loss)(values)
    assert np.abs(found - run(families.family("constant"), constant, loss)(values)).max() < 1e-6 * spread(loss)
    assert families.family("trees").edges(trees_alone) == {}


@of_losses
@pytest.mark.parametrize("name", HERE)
def test_columns_of_one_kind_alone(name: str, loss: Loss) -> None:
    """Numbers without a category or a missing value, and categories without a number."""
    module, width = families.family(name), WIDTHS[loss]
    for columns, kinds in (([0, 1, 7], {}), ([4], {0: 7})):
        some = families.Matrix(matrix().values[:, columns], tuple(NAMES[at] for at in columns), kinds)
        state = module.fit(some, target(loss), weights(), loss, width, KNOBS[name]).state
        found = run(module, state, loss, kinds, len(columns))(some.values)
        assert np.abs(found - module.raw(state, some, loss, width)).max() < case(name, loss).near


@pytest.mark.parametrize("name", ["constant", "linear"])
def test_two_classes_are_a_label_of_two_values(name: str) -> None:
    rows, label, module = matrix(), target("logistic"), families.family(name)
    knobs = KNOBS[name]
    odds = module.raw(module.fit(rows, label, weights(), "logistic", 1, knobs).state, rows, "logistic", 1)
    logits = module.raw(module.fit(rows, label, weights(), "softmax", 2, knobs).state, rows, "softmax", 2)
    assert np.abs(logits[:, 1] - logits[:, 0] - odds[:, 0]).max() < 1e-12


def test_constant_says_what_has_the_least_loss() -> None:
    label, weight = np.array([0.0, 0.0, 1.0, 2.0]), np.array([1.0, 2.0, 3.0, 4.0])
    expected: dict[Loss, list[float]] = {"softmax": np.log([0.3, 0.3, 0.4]).tolist(), "squared": [1.1]}
    rows = families.Matrix(np.zeros((4, 1)), ("x",))
    for loss, said in expected.items():
        constant = families.family("constant")
        state = constant.fit(rows, label, weight, loss, len(said), {}).state
        assert constant.raw(state, rows, loss, len(said))[0] == pytest.approx(said, rel=1e-15)


@pytest.mark.parametrize("name", HERE)
def test_label_that_never_changes_is_what_is_expected(name: str) -> None:
    rows, module = matrix(), families.family(name)
    label = np.full(len(rows.values), 7e9 + 0.1)
    state = module.fit(rows, label, weights(), "squared", 1, KNOBS[name]).state
    assert module.raw(state, rows, "squared", 1) == pytest.approx(7e9 + 0.1, rel=1e-15)


@pytest.mark.parametrize("name", HERE)
def test_label_that_cannot_be_squared_is_a_sentence(name: str) -> None:
    label = np.append(np.zeros(len(matrix().values) - 1), -1e200)
    with pytest.raises(BadInput, match="the label holds a number as large as 1e\\+200"):
        families.family(name).fit(matrix(), label, weights(), "squared", 1, KNOBS[name])


def test_trees_of_rare_classes_do_not_run_away() -> None:
    """Four classes of three rows each, which nothing tells apart; LightGBM's own settings end at a loss of 300."""
    label = np.random.default_rng(4).integers(0, 2, len(matrix().values)).astype(np.float64)
    for code in (2, 3, 4, 5):
        label[code::1000] = code
    module, knobs = families.family("trees"), KNOBS["trees"] | {"trees": 20, "learning_rate": 0.3}
    state = module.fit(matrix(), label, weights(), "softmax", 6, knobs).state
    assert conformance.risk("softmax", module.raw(state, matrix(), "softmax", 6), label) < 0.7


def test_family_that_is_none() -> None:
    with pytest.raises(BadInput, match="train.family is 'forest'; it may be one of constant, linear"):
        families.family("forest")


@pytest.mark.parametrize("name", HERE)
def test_state_from_elsewhere_is_refused(name: str) -> None:
    """`export` takes a fitted family from a request: what is none of this encoding's ends in a sentence."""
    state = case(name, "logistic").fitted.state
    module = families.family(name)
    for other in (b"", b"no model", state[: len(state) // 3], b"\xff" + state[1:]):
        with pytest.raises(BadInput, match=f"the fitted family {name} cannot be read"):
            run(module, other, "logistic")


@pytest.mark.parametrize("name", HERE)
def test_state_of_another_width_is_refused(name: str) -> None:
    """Ten trees are no rounds of four; what says four numbers of a row says not one."""
    with pytest.raises(BadInput, match=f"the fitted family {name} cannot be read"):
        run(families.family(name), case(name, "logistic").fitted.state, "softmax")
    if name != "trees":
        with pytest.raises(BadInput, match=f"the fitted family {name} cannot be read"):
            run(families.family(name), case(name, "softmax").fitted.state, "squared")


def test_trees_that_lead_nowhere_are_refused() -> None:
    """onnxruntime would follow them out of its memory, or for ever."""
    text = case("trees", "logistic").fitted.state.decode()
    for name, value in (("left_child", 0), ("left_child", 9999), ("right_child", -9999), ("split_feature", len(NAMES))):
        other = re.sub(rf"\n{name}=\S+", f"\n{name}={value}", text, count=1)
        with pytest.raises(BadInput, match="the fitted family trees cannot be read"):
            run(families.family("trees"), other.encode(), "logistic")


MANY_NODES = 200
HUGE = f"""tree

Tree=0
split_feature={"0 " * MANY_NODES}
threshold={"0 " * MANY_NODES}
decision_type={"1 " * MANY_NODES}
left_child={" ".join(str(~at) for at in range(MANY_NODES))}
right_child={" ".join(str(at + 1) for at in range(MANY_NODES - 1))} {~MANY_NODES}
leaf_value={"0.1 " * (MANY_NODES + 1)}
cat_boundaries=0 1000
cat_threshold={"4294967295 " * 1000}
"""


def test_sets_of_levels_take_no_more_memory_than_their_text() -> None:
    """Nodes that name one set share it; sets that overlap, or hold codes that the encoder has not, are refused."""
    (found,) = trees.trees(HUGE.encode())
    kept = {id(codes): codes.nbytes for codes in found.levels if codes is not None}
    assert sum(kept.values()) < 30 * len(HUGE)
    assert not trees.fits(1, {0: 31_999}, found) and trees.fits(1, {0: 32_000}, found)
    for ends in ("0 1000 0 1000", "-1000 0"):
        with pytest.raises(BadInput, match="sets of levels overlap"):
            trees.trees(HUGE.replace("=0 1000\n", f"={ends}\n").encode())


@of_losses
def test_linear_family_of_other_columns_is_refused(loss: Loss) -> None:
    """Its weights would be gathered from beyond the table."""
    parts = load(case("linear", loss).fitted.state)
    for name, value in {
        "column": parts["column"] + 1,
        "first": parts["first"] + 9,
        "scale": parts["scale"] * 0,
        "level": parts["level"][1:],
        "slope": np.vstack([parts["slope"], parts["slope"]]),
        "missing": np.hstack([parts["missing"], parts["missing"]]),
        "intercept": np.zeros(WIDTHS[loss] + 1),
    }.items():
        with pytest.raises(BadInput, match="does not fit the encoding"):
            run(families.family("linear"), save({**parts, name: value}), loss)


@pytest.mark.parametrize("name", ["constant", "linear"])
def test_numbers_of_another_precision_are_refused(name: str) -> None:
    parts = load(case(name, "logistic").fitted.state)
    for changed in (part for part in parts if parts[part].dtype == np.float64):
        other = save({**parts, changed: parts[changed].astype(np.float32)})
        with pytest.raises(BadInput, match="other tensors than the family writes"):
            run(families.family(name), other, "logistic")
