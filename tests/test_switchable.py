"""Switchable whitening: of a batch, of each image, in evaluation, and in several processes."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from network.switchable_whitening import SwitchableWhitening2d, gram, inverse_root
from support.ranks import run_ranks
from utils.processes import rank, world_size

IMAGES = 4


def correlated(generator: int = 0) -> Tensor:
    random = torch.Generator().manual_seed(generator)
    mix = torch.eye(16) + 0.2 * torch.randn(16, 16, generator=random)
    x = torch.randn(IMAGES, 16, 12, 12, generator=random) + torch.arange(IMAGES)[:, None, None, None] / 4
    return torch.einsum("dc,nchw->ndhw", mix, x).double()


def test_inverse_root() -> None:
    variances = torch.tensor([1.0, 1.2, 0.9], dtype=torch.float64)
    torch.testing.assert_close(inverse_root(variances.diag()).diag(), variances.rsqrt(), atol=1e-3, rtol=0)


@pytest.mark.parametrize("batch", [True, False])
def test_whitens_the_batch_or_each_image(batch: bool) -> None:
    norm = SwitchableWhitening2d(16).double()
    with torch.no_grad():
        for mixture in (norm.mean_mixture, norm.covariance_mixture):
            mixture.copy_(torch.tensor([40.0, 0.0]) if batch else torch.tensor([0.0, 40.0]))
    y = norm(correlated())
    flat = y.transpose(0, 1).reshape(1, 16, -1) if batch else y.flatten(2)
    covariance = gram(flat - flat.mean(-1, keepdim=True)) / flat.shape[-1]
    before = torch.cov(correlated().transpose(0, 1).flatten(1), correction=0)
    assert flat.mean(-1).abs().max() < 1e-9
    assert (covariance - torch.eye(16)).abs().max() < 0.5 * (before - torch.eye(16)).abs().max()  # not exact: 5 steps


def test_evaluation_uses_what_training_saw() -> None:
    norm = SwitchableWhitening2d(16, momentum=1.0).double()
    trained = norm(correlated())
    torch.testing.assert_close(norm.eval()(correlated()), trained)
    assert SwitchableWhitening2d(116).group == 4  # the largest divisor that 16 has in common


def halves() -> dict[str, Tensor]:
    norm = SwitchableWhitening2d(16).double()
    own = slice(rank() * IMAGES // 2, (rank() + 1) * IMAGES // 2) if world_size() > 1 else slice(None)
    x = correlated().requires_grad_()
    target = correlated(1)
    y = norm(x[own])
    (y * target[own]).sum().backward()
    return {"y": y.detach(), "gradient": x.grad[own], **norm.state_dict()}


def test_ranks_equal_one_process(tmp_path: Path) -> None:
    ranks, expected = run_ranks(halves, 2, tmp_path), halves()
    for name, value in expected.items():
        joint = torch.cat([part[name] for part in ranks]) if name in ("y", "gradient") else ranks[1][name]
        torch.testing.assert_close(joint, value, atol=1e-10, rtol=1e-9)
