from .normed_average_pooling import NormedAveragePooling
from .simple_feature_pyramid import SimpleFeaturePyramid

__all__ = ['NormedAveragePooling', 'SimpleFeaturePyramid']
