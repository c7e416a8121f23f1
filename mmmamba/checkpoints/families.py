"""The families whose published weights can be read: one line each."""

from torch import nn

from mmmamba.checkpoints.efficient_vmamba import EFFICIENT_VMAMBA
from mmmamba.checkpoints.family import Family
from mmmamba.checkpoints.groupmamba import GROUPMAMBA
from mmmamba.checkpoints.heracles import HERACLES
from mmmamba.checkpoints.local_vim import LOCAL_VIM
from mmmamba.checkpoints.local_vmamba import LOCAL_VMAMBA
from mmmamba.checkpoints.mamba_nd import MAMBA_ND
from mmmamba.checkpoints.mamba_r import MAMBA_R
from mmmamba.checkpoints.mambavision import MAMBAVISION
from mmmamba.checkpoints.medmamba import MEDMAMBA
from mmmamba.checkpoints.msvmamba import MSVMAMBA
from mmmamba.checkpoints.plain_mamba import PLAIN_MAMBA
from mmmamba.checkpoints.rsmamba import RSMAMBA
from mmmamba.checkpoints.simba import SIMBA
from mmmamba.checkpoints.vim import VIM
from mmmamba.checkpoints.vim_f import VIM_F
from mmmamba.checkpoints.vit_adapter import VIT_ADAPTER
from mmmamba.checkpoints.vmamba import VMAMBA

FAMILIES: tuple[Family, ...] = (
    VMAMBA,
    EFFICIENT_VMAMBA,
    GROUPMAMBA,
    HERACLES,
    LOCAL_VIM,
    LOCAL_VMAMBA,
    MAMBAVISION,
    MEDMAMBA,
    MAMBA_ND,
    MAMBA_R,
    MSVMAMBA,
    PLAIN_MAMBA,
    RSMAMBA,
    SIMBA,
    VIM,
    VIM_F,
    VIT_ADAPTER,
)


def family_of(model: nn.Module) -> Family | None:
    """The family of a backbone, or of the one inside a classifier, detector or segmentor; None without a key map."""
    backbone = backbone_of(model)
    name, inner = type(backbone).__name__, backbone_of(backbone)
    if inner is not backbone:
        name += f'({type(inner).__name__})'  # the authors' detectors mix the names of an adapter and its backbone
    return next((family for family in FAMILIES if family.backbone == name), None)


def image_family_of(model: nn.Module) -> Family | None:
    """The family of the form for images that a backbone of clips can start from; None for any other model."""
    image_form = getattr(backbone_of(model), 'image_form', None)
    return next((family for family in FAMILIES if image_form and family.backbone == image_form.__name__), None)


def backbone_of(model: nn.Module) -> nn.Module:
    """The backbone of a classifier, detector or segmentor; any other model is its own."""
    return getattr(model, 'backbone', model)
