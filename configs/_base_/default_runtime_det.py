# Every detection config: mmdet's runtime, and mmmamba's registry.
_base_ = 'mmdet::_base_/default_runtime.py'

custom_imports = dict(imports=['mmmamba'], allow_failed_imports=False)
