"""Parity with the authors' release: memory initialisation, whole training iterations."""

import numpy as np
import pytest
import torch
from test_parity import iteration_batch, seeded_network
from torch import Tensor

from checkpoints.release_format import to_release
from methods.pinmem import write_first_memory
from support.golden import assert_close, assert_norms, hold, load, probe
from support.methods import method_on
from support.rounding import assert_rounding_explains, assert_rounding_explains_most, in_three_ways

pytestmark = pytest.mark.parity
CALLED = {"agg": "baseline", "mldg": "mldg", "memory_agg": "memory", "memory_mldg": "pinmem"}  # as the goldens do
NOISE = "module.dsn.0.bias"  # a bias in front of a batch norm: its gradient is rounding noise around zero


def initial_items(dtype: torch.dtype) -> dict[str, Tensor]:
    net = seeded_network("r18v3p_mem", dtype)
    before = net.memory.items.clone()
    write_first_memory(net, (iteration_batch(k, dtype, [False, False], 2) for k in range(3)))
    assert net.training
    assert torch.equal(net.memory.items[3], before[3])  # a class never seen: ours keeps its item, the release zeroes it
    return {"items": net.memory.items[[k for k in range(19) if k != 3]]}


def recorded_items(name: str) -> np.ndarray:
    golden = load(name)
    assert list(golden["zero_rows"]) == [3] and (golden["classes_seen"] > 0).sum() >= 18
    return golden["m_items_after"][[k for k in range(19) if k != 3]]


def test_memory_initialisation() -> None:
    assert_close(initial_items(torch.float64)["items"], recorded_items("d_meminit_r18v3p_f64"), 1e-8, "items")


def test_memory_initialisation_in_single_precision() -> None:
    golden = recorded_items("d_meminit_r18v3p")
    assert_rounding_explains(golden, *(way["items"] for way in in_three_ways(initial_items)), "items")


# Two iterations contain what one shows, and Pin the Memory in double precision what the others do.
CASES = [
    pytest.param(kind, iterations, marks=() if (kind, iterations) == ("memory_mldg", 2) else pytest.mark.slow)
    for kind in CALLED
    for iterations in (1, 2)
]


@pytest.mark.parametrize(("kind", "iterations"), CASES)
def test_iterations(kind: str, iterations: int) -> None:
    golden = load(f"e_{kind}" + ("_2it" if iterations == 2 else "") + "_f64")
    results = with_norms(iterate(kind, iterations, torch.float64), golden)
    check_lengths(results, golden)
    assert_norms(results["delta_norm"].numpy(), recorded(golden, "delta_norm"), 1e-8, "updates' norms")
    directions = (results["delta_probe"].numpy() - recorded(golden, "delta_probe")) / recorded(golden, "delta_norm")
    hold(golden["delta_probe"], "updates' directions", np.abs(directions).max(), 1e-7)
    assert_norms(results["buffer_norm_after"].numpy(), golden["buffer_norm_after"], 1e-8, "running statistics")
    for key in tensors_of(results, golden):
        assert_close(results[key], golden_of(golden, key), 1e-8, title(key))


@pytest.mark.slow
@pytest.mark.parametrize("iterations", [1, 2])
@pytest.mark.parametrize("kind", CALLED)
def test_iterations_in_single_precision(kind: str, iterations: int) -> None:
    golden = load(f"e_{kind}" + ("_2it" if iterations == 2 else ""))
    ways = [with_norms(way, golden) for way in in_three_ways(lambda dtype: iterate(kind, iterations, dtype))]
    check_lengths(ways[0], golden)
    norms = [way["delta_norm"] for way in ways]
    assert_rounding_explains_most(recorded(golden, "delta_norm"), *norms, norms[1], "updates' norms")
    directions = [way["delta_probe"] for way in ways]
    assert_rounding_explains_most(recorded(golden, "delta_probe"), *directions, norms[1], "updates' directions")
    buffers = [way["buffer_norm_after"] for way in ways]
    assert_rounding_explains_most(golden["buffer_norm_after"], *buffers, buffers[1], "running statistics")
    for key in tensors_of(ways[1], golden):
        # After an update, losses are single numbers of which one estimate tells little; so are single weights.
        if not key.startswith("after/") and not (key.startswith("losses/") and iterations == 2):
            assert_rounding_explains(golden_of(golden, key), *(way[key] for way in ways), title(key))


def iterate(kind: str, iterations: int, dtype: torch.dtype) -> dict[str, Tensor]:
    """Losses, the state afterwards, and what was added to the parameters, by the release's names."""
    net = seeded_network("r50v3p_mem" if "memory" in kind else "r50v3p_base", dtype).train()
    start = {key: value.clone() for key, value in net.state_dict().items()}
    method = method_on(net, CALLED[kind], inner_lr_anneal=iterations == 2, gumbel=False)
    results = {}
    for number in range(iterations):  # the recorded splits: domain 0 is meta-test in both iterations
        terms = method.step(iteration_batch(number, dtype, [True, False]))
        results |= losses_of(terms, kind, number)
    results["lr"] = torch.tensor(method.scheduler.get_last_lr()[0])
    if "mldg" in kind and iterations == 2:
        results["inner_lr"] = torch.tensor(method.look_ahead_rate())
    if "memory" in kind:
        results["m_items_after"] = net.memory.items
    for key, value in net.state_dict().items():
        results[f"after/{to_release(key)}"] = value
        if value.is_floating_point():
            results[f"delta/{to_release(key)}"] = value - start[key]
    return results


def losses_of(terms: dict[str, Tensor], kind: str, number: int) -> dict[str, Tensor]:
    """The losses of an iteration, unweighted, by the row and the column of the golden's table."""
    names = {"main": ("seg", 1), "aux": ("aux", 0.4), "read": ("coh", 0.02), "div": ("div", 0.4), "cls": ("cls", 0.2)}
    stages = ["inner/", "outer/"] if "mldg" in kind else [""]
    return {
        f"losses/{number * len(stages) + row}/{column}": terms[stage + ours].detach().view(1) / weight
        for row, stage in enumerate(stages)
        for column, (ours, weight) in names.items()
        if stage + ours in terms
    }


def with_norms(results: dict[str, Tensor], golden: dict) -> dict[str, Tensor]:
    """The results and the golden's summaries of them."""
    moves = {key: results[f"delta/{key}"] for key in map(str, golden["param_names"]) if key != NOISE}
    summaries = {
        "delta_norm": [float(x.double().norm()) for x in moves.values()],
        "delta_probe": [probe(key, x) for key, x in moves.items()],
        "buffer_norm_after": [float(results[f"after/{key}"].double().norm()) for key in golden["buffer_names"]],
    }
    return results | {key: torch.tensor(values, dtype=torch.float64) for key, values in summaries.items()}


def check_lengths(results: dict[str, Tensor], golden: dict) -> None:
    """What no rounding changes: learning rates, and how many batches the running statistics have seen."""
    assert len(results["delta_norm"]) > 190
    assert results["lr"] == pytest.approx(golden["lr_after_each_iteration"][-1], rel=1e-6)
    if "inner_lr" in results:
        assert results["inner_lr"] == pytest.approx(float(golden["inner_lr_after"]), rel=1e-6)
    assert len({key.split("/")[1] for key in results if key.startswith("losses/")}) == len(golden["losses"])
    for key, count in zip(golden["num_batches_tracked_names"], golden["num_batches_tracked"], strict=True):
        assert results[f"after/{key}"] == count, f"{key}: batches seen by the running statistics"


def recorded(golden: dict, name: str) -> np.ndarray:
    """A summary of all parameters without the one that is rounding noise."""
    return golden[name][golden["param_names"] != NOISE]


def tensors_of(results: dict[str, Tensor], golden: dict) -> list[str]:
    names = [key for key in results if key.startswith("losses/") or key in golden]
    return [key for key in names if not key.endswith(("_norm", "_probe", "_norm_after"))]


def golden_of(golden: dict, key: str) -> np.ndarray:
    if not key.startswith("losses/"):
        return golden[key]
    _, row, column = key.split("/")
    k = list(golden["losses_columns"]).index(column)
    return golden["losses"][int(row), k : k + 1]


def title(key: str) -> str:
    return f"loss {key.split('/')[2]}" if key.startswith("losses/") else "items" if "items" in key else "weights after"
