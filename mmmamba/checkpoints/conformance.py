"""Whether a model computes what its authors' code computes: golden cases, read, run and judged.

A case is ``FAMILY/VARIANT.json`` (how the authors' model was built) beside ``VARIANT.npz`` (what it gave). The model is
built from the published arguments, takes the golden weights through its key map, and its outputs and gradients are
compared in float32 and float64, with the plain weights and, where recorded, with the strong ones.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from mmmamba.checkpoints.families import FAMILIES, backbone_of
from mmmamba.checkpoints.family import Family
from mmmamba.checkpoints.files import CheckpointError
from mmmamba.checkpoints.golden import golden_input, golden_tensor, probe_indices
from mmmamba.checkpoints.loading import export, load_weights, published_names
from mmmamba.ops.backend import resolve_backend, use_backend
from mmmamba.registry import MODELS

SMALL_BOUND, FULL_BOUND = 5e-6, 2e-5
# Where float32 rounding alone costs more: (custom_small* cases, full-size cases).
FAMILY_BOUNDS = {
    'groupmamba': (5e-5, 1e-3),
    'local_vim': (SMALL_BOUND, 5e-5),
    'local_vmamba': (SMALL_BOUND, 5e-5),
    'mambavision': (SMALL_BOUND, SMALL_BOUND),
}
VANILLA_BOUND = 5e-5
FP64_BOUND = 1e-8
GRADIENT_BOUND, GROUPMAMBA_GRADIENT_BOUND = 1e-4, 3e-4
TRITON_FACTOR = 4  # its float32 is judged four times as loosely


@dataclass(frozen=True)
class Case:
    """One golden case: the json's entries and the npz's arrays."""

    info: dict
    figures: dict[str, np.ndarray]

    @property
    def name(self) -> str:
        """``'vmamba/tiny_s1l8'``."""
        return f'{self.info["family"]}/{self.info["variant"]}'

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """Height and width of each recorded input."""
        return [tuple(size) for size in self.info['inputs']]

    @property
    def gradient_size(self) -> tuple[int, int] | None:
        """Height and width of the input whose gradients are recorded; None without gradients."""
        size = self.info.get('grad_size') or self.info.get('grad_input_size')
        return None if size is None else tuple(size)


@dataclass(frozen=True)
class Check:
    """One comparison: the largest relative error against its bound."""

    what: str
    error: float
    bound: float

    @property
    def passed(self) -> bool:
        """False also for NaN."""
        return self.error <= self.bound

    def __str__(self) -> str:
        return f'{self.what} {self.error:.1e}' + ('' if self.passed else f' (bound {self.bound:.0e})')


@dataclass(frozen=True)
class Verdict:
    """The comparisons of one case at one input size."""

    case: str
    size: tuple[int, int]
    parameters: int
    published_parameters: int
    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        """Whether the parameters are as many as published and every comparison is within its bound."""
        return bool(self.checks) and self.parameters == self.published_parameters and all(c.passed for c in self.checks)

    def __str__(self) -> str:
        height, width = self.size
        count = f'{self.parameters:,} parameters'
        if self.parameters != self.published_parameters:
            count += f' (published: {self.published_parameters:,})'
        checks = ', '.join(map(str, self.checks)) or 'nothing recorded'
        return f'{"pass" if self.passed else "FAIL"}  {self.case} {height}x{width}: {count}; {checks}'


def read_cases(path: str | Path) -> Iterator[Case]:
    """The cases in a folder and the folders inside it.

    Args:
        path: a folder, or the json file of one case.

    Raises:
        FileNotFoundError: if there is no case.
    """
    path = Path(path)
    files = [path] if path.suffix == '.json' else sorted(path.rglob('*.json'))
    files = [file for file in files if file.is_file() and file.with_suffix('.npz').is_file()]
    if not files:
        raise FileNotFoundError(f'no conformance case in {str(path)!r}; expected VARIANT.json beside VARIANT.npz')
    for file in files:
        with np.load(file.with_suffix('.npz')) as figures:
            yield Case(json.loads(file.read_text()), dict(figures))


def judge(case: Case, device: str = 'cpu', backend: str = 'auto') -> Iterator[Verdict]:
    """Build the case's model, run it and compare.

    Args:
        case: from ``read_cases``.
        device: where to run.
        backend: of the ops, as for ``use_backend``.

    Yields:
        One verdict for each input size.

    Raises:
        CheckpointError: if the family has no key map, or the golden weights do not fit the model.
        ValueError: if the published arguments have no counterpart here.
    """
    family = next((family for family in FAMILIES if family.name == case.info['family']), None)
    if family is None:
        known = [family.name for family in FAMILIES]
        raise CheckpointError(f'{case.name}: no key map for this family; there are maps for {known}')
    config = family.model_config(case.info['constructor'], case.info['kwargs'])
    model = MODELS.build(config).eval()
    checks = {size: [_layout_check(case, model)] for size in case.sizes}
    resolved = resolve_backend(backend, torch.device(device))
    with use_backend(backend):
        _compare(model, case, family, device, resolved, '', checks)
        for variant, change in family.variants.items():
            if any(f'{variant}/' in name or f'{variant}_' in name for name in case.figures):
                _compare(MODELS.build(change(config)).eval(), case, family, device, resolved, variant, checks)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    for size in case.sizes:
        yield Verdict(case.name, size, parameters, case.info['parameters'], tuple(checks[size]))


def _compare(
    model: nn.Module,
    case: Case,
    family: Family,
    device: str,
    backend: str,
    variant: str,
    checks: dict[tuple[int, int], list[Check]],
) -> None:
    """Run a model with each set of weights in each dtype, and add to the checks what there is to compare."""
    for strong in (False, True):
        for dtype in (torch.float32, torch.float64):
            suffix = variant + ('_strong' if strong else '') + ('_fp64' if dtype == torch.float64 else '')
            recorded = any(name.startswith(f'{_label(size)}{suffix}/') for size in case.sizes for name in case.figures)
            if not recorded or (dtype == torch.float64 and backend == 'triton'):  # its state is float32
                continue
            _load_golden(model, case, strong)
            run = _Run(model.to(device, dtype), family, case, dtype, suffix, backend)
            for size in case.sizes:
                checks[size] += run.output_checks(size)
            if case.gradient_size is not None:  # told with the first size if no outputs are recorded for its own
                shown = case.gradient_size if case.gradient_size in checks else case.sizes[0]
                checks[shown] += run.gradient_checks(case.gradient_size)
            model.to('cpu', torch.float32)


def _layout_check(case: Case, model: nn.Module) -> Check:
    """How many entries of the exported state dict and the published one have no like in the other.

    Their order does not count: it tells which of the authors' equal implementations made a file, and no loader asks.
    """
    exported = {(name, tuple(tensor.shape)) for name, tensor in export(model).items()}
    published = {(name, tuple(shape)) for name, shape, _ in case.info['state_dict']}
    return Check('names and shapes', len(exported ^ published), 0)


def _load_golden(model: nn.Module, case: Case, strong: bool) -> None:
    own = export(model)
    golden = {name: golden_tensor(name, tuple(shape), strong) for name, shape, _ in case.info['state_dict']}
    load_weights(model, {name: own[name] if value is None else value for name, value in golden.items()})


@dataclass(frozen=True)
class _Run:
    """One model with golden weights in one dtype, and what to compare it with."""

    model: nn.Module
    family: Family
    case: Case
    dtype: torch.dtype
    suffix: str
    backend: str

    def output_checks(self, size: tuple[int, int]) -> list[Check]:
        """Compare logits or maps; nothing where none are recorded."""
        with torch.no_grad():
            outputs = self._forward(self._input(size))
        errors = [
            error for i, output in enumerate(outputs) for error in self._output_errors(output, size, i, len(outputs))
        ]
        return [Check(f'outputs{self._label}', max(errors), self._output_bound())] if errors else []

    def gradient_checks(self, size: tuple[int, int]) -> list[Check]:
        """Compare the gradients of the input and the norms of those of the parameters; nothing where not recorded."""
        golden = {key: self.case.figures.get(f'grad_{key.replace("@", self.suffix)}') for key in GRADIENTS}
        if golden['input@/values'] is None:
            return []
        x = self._input(size).requires_grad_()
        self.model.zero_grad()
        objective = sum((out * _ramp(out)).sum() for out in self._forward(x))
        objective.backward()
        probes = x.grad.flatten()[probe_indices(x.numel()).to(x.device)].cpu().double().numpy()
        errors = [
            np.abs(probes - golden['input@/values']).max() / np.abs(golden['input@/values']).max(),
            _relative(float(x.grad.norm()), float(golden['input@.norm'])),
            *self._parameter_errors(golden['param@.norm']),
        ]
        return [Check(f'gradients{self._label}', float(max(errors)), self._gradient_bound())]

    @property
    def _label(self) -> str:
        return self.suffix.replace('_', ' ') or ' fp32'

    def _input(self, size: tuple[int, int]) -> Tensor:
        weights = backbone_of(self.model).state_dict()
        channels = next(weights[name].shape[1] for name in self.family.stems if name in weights)
        parameter = next(self.model.parameters())
        return golden_input(self.case.info.get('batch', 2), *size, channels).to(parameter.device, self.dtype)

    def _forward(self, x: Tensor) -> list[Tensor]:
        if backbone_of(self.model) is self.model:
            return list(self.model(x))
        return [self.model(x, mode='tensor')]

    def _output_errors(self, output: Tensor, size: tuple[int, int], index: int, count: int) -> list[float]:
        prefix = f'{_label(size)}{self.suffix}'
        golden = self.case.figures.get(f'{prefix}/logits')
        output = output.cpu().double().numpy()
        if golden is not None and count == 1:
            return [float(np.abs(output - golden).max() / golden.std())]
        prefix = f'{prefix}/map{index}'
        golden = self.case.figures.get(f'{prefix}.values')
        if golden is None:
            return []
        shape = self.case.figures.get(f'{prefix}.shape', np.array(output.shape))
        if tuple(shape) != output.shape:
            return [float('inf')]
        std = float(self.case.figures[f'{prefix}.std'])
        return [
            float(np.abs(output.ravel()[probe_indices(output.size).numpy()] - golden).max()) / std,
            abs(float(output.mean()) - float(self.case.figures[f'{prefix}.mean'])) / std,
            abs(float(output.std()) - std) / std,
        ]

    def _parameter_errors(self, golden: np.ndarray) -> list[float]:
        gradients = {
            name: torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            for name, parameter in self.model.named_parameters()
        }
        published = published_names(self.model, gradients)
        listed = [name for name, _, _ in self.case.info['state_dict'] if name in published]
        names = self.case.info.get('grad_param_names', listed)
        return [
            _relative(float(published[name].norm()), float(norm))
            for name, norm in zip(names, golden, strict=True)
            if not (self.family.name == 'groupmamba' and name.endswith('.attn.skip_scale'))  # zero up to an eps
        ]

    def _output_bound(self) -> float:
        if self.dtype == torch.float64:
            return FP64_BOUND
        small, full = FAMILY_BOUNDS.get(self.family.name, (SMALL_BOUND, FULL_BOUND))
        variant = self.case.info['variant']
        if variant.startswith('custom_small'):
            bound = small
        else:
            bound = VANILLA_BOUND if self.family.name == 'vmamba' and 'vanilla' in variant else full
        return bound * (TRITON_FACTOR if self.backend == 'triton' else 1)

    def _gradient_bound(self) -> float:
        if self.dtype == torch.float64:
            return FP64_BOUND
        bound = GROUPMAMBA_GRADIENT_BOUND if self.family.name == 'groupmamba' else GRADIENT_BOUND
        return bound * (TRITON_FACTOR if self.backend == 'triton' else 1)


GRADIENTS = ('input@/values', 'input@.norm', 'param@.norm')


def _label(size: tuple[int, int]) -> str:
    return f'{size[0]}x{size[1]}'


def _ramp(output: Tensor) -> Tensor:
    return torch.linspace(-1, 1, output.numel(), dtype=output.dtype, device=output.device).view(output.shape)


def _relative(value: float, golden: float) -> float:
    return abs(value - golden) / (abs(golden) or 1)  # a golden of exactly 0 is compared absolutely
