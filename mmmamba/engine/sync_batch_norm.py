"""Batch norm over all processes of a run on CPUs; PyTorch's SyncBatchNorm takes GPU tensors only."""

import torch
import torch.distributed as dist
from mmengine.model import MMDistributedDataParallel
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce
from torch.nn.modules.batchnorm import _BatchNorm


class CPUSyncBatchNorm(_BatchNorm):
    """SyncBatchNorm whose statistics are summed by differentiable all-reduces, of any backend.

    It is no subclass of SyncBatchNorm, which DistributedDataParallel refuses on CPUs whatever it does.
    """

    def _check_input_dim(self, x: Tensor) -> None:
        if x.dim() < 2:
            raise ValueError(f'expected (B, C, ...), got a tensor of shape {tuple(x.shape)}')

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (B, C, ...) by the mean and variance of each channel over the global batch."""
        if not (self.training and dist.is_initialized()):
            return super().forward(x)
        dims = [0, *range(2, x.dim())]
        count = x.new_tensor([x.numel() / x.shape[1]])
        sums = all_reduce(torch.cat([x.sum(dims), x.square().sum(dims), count]))
        total = sums[-1]
        mean, square = (sums[:-1] / total).chunk(2)
        var = (square - mean.square()).clamp(min=0)
        self._update_running(mean.detach(), (var * total / (total - 1)).detach())
        shape = (1, -1, *[1] * (x.dim() - 2))
        scale = torch.rsqrt(var + self.eps) * (1 if self.weight is None else self.weight)
        x = (x - mean.view(shape)) * scale.view(shape)
        return x if self.bias is None else x + self.bias.view(shape)

    @torch.no_grad()
    def _update_running(self, mean: Tensor, var: Tensor) -> None:
        if not self.track_running_stats:
            return
        self.num_batches_tracked.add_(1)
        momentum = 1 / self.num_batches_tracked if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, momentum)
        self.running_var.lerp_(var, momentum)


def synchronise_on_cpu(model: nn.Module) -> nn.Module:
    """Let the model's SyncBatchNorm layers, the same objects with the same parameters, run on CPUs."""
    for module in model.modules():
        if type(module) is nn.SyncBatchNorm:
            module.__class__ = CPUSyncBatchNorm
    return model


class CPUDistributedDataParallel(MMDistributedDataParallel):
    """mmengine's wrapper for a model on a CPU, SyncBatchNorm layers included. Arguments as there, without devices."""

    def __init__(self, module: nn.Module, *, device_ids: None = None, **options) -> None:
        super().__init__(synchronise_on_cpu(module), device_ids=device_ids, **options)
