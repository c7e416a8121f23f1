"""Learning rates that fall from the last layer of a backbone to its first, as for fine-tuning pretrained weights."""

from mmengine.optim import DefaultOptimWrapperConstructor
from torch import nn

from mmmamba.errors import UserError
from mmmamba.registry import OPTIM_WRAPPER_CONSTRUCTORS

FSDP_PART = '_fsdp_wrapped_module.'  # in the names of a model that FSDP has wrapped


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LayerDecayConstructor(DefaultOptimWrapperConstructor):
    """mmengine's constructor with one more entry of ``paramwise_cfg``, for any library and any of our backbones.

    ``optim_wrapper=dict(constructor='mmmamba.LayerDecayConstructor', paramwise_cfg=dict(layer_decay_rate=0.8, ...))``.
    A parameter of the backbone at depth d of n gets the learning rate times ``layer_decay_rate ** (n - 1 - d)``: heads,
    necks and output norms the full one. The other entries (``norm_decay_mult``, ``custom_keys``, ...) work as ever.
    """

    def add_params(self, params: list[dict], module: nn.Module, prefix: str = '', **context) -> None:
        """Add the parameters of a module, groups with equal options as one.

        Args:
            params: the groups, extended in place.
            module: the model, or a part of it in the recursion of the base class.
            prefix: the name of that part.
            **context: what the base class hands down.

        Raises:
            UserError: if there is no ``layer_decay_rate`` between 0 and 1, or the backbone does not know its depths.
        """
        super().add_params(params, module, prefix=prefix, **context)
        if prefix:
            return
        rate = self.paramwise_cfg.get('layer_decay_rate')
        if not isinstance(rate, (int, float)) or not 0 < rate <= 1:
            raise UserError(
                f'optim_wrapper.paramwise_cfg.layer_decay_rate is {rate!r}; LayerDecayConstructor needs a number above '
                '0 and up to 1, such as 0.8'
            )
        if not hasattr(getattr(module, 'backbone', None), 'get_layer_depth'):
            raise UserError(
                f'LayerDecayConstructor: {type(getattr(module, "backbone", module)).__name__} has no get_layer_depth; '
                "it is for models with a backbone of mmmamba's, type='mmmamba.NAME'"
            )
        names = {id(parameter): name.replace(FSDP_PART, '') for name, parameter in module.named_parameters()}
        merged = {}
        for group in params:
            (parameter,) = group.pop('params')
            depth, count = module.backbone.get_layer_depth(names[id(parameter)], 'backbone.')
            group['lr'] = group.get('lr', self.base_lr) * rate ** (count - 1 - depth)
            merged.setdefault(tuple(sorted(group.items())), []).append(parameter)
        params[:] = [dict(options, params=parameters) for options, parameters in merged.items()]
