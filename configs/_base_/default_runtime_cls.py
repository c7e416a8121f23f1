# Every classification config: mmpretrain's runtime, and mmmamba's registry.
_base_ = 'mmpretrain::_base_/default_runtime.py'

custom_imports = dict(imports=['mmmamba'], allow_failed_imports=False)
