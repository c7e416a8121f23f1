from .normed_average_pooling import NormedAveragePooling
from .register_neck import RegisterNeck
from .simple_feature_pyramid import SimpleFeaturePyramid

__all__ = ['NormedAveragePooling', 'RegisterNeck', 'SimpleFeaturePyramid']
